"""The documentation pages: Swagger UI and ReDoc, from files on this machine alone."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

#: The package that ships the files of both. It is never imported: its router is not ours.
ASSETS_PACKAGE = "aiohttp_swagger3"

#: How long a browser may keep the files; they change with a release only.
ASSETS_MAX_AGE_S = 3600

#: What the pages may do. Whatever the bundles would fetch from elsewhere (ReDoc a logo, Swagger UI a
#: validator's badge) is stopped here, should an option below ever miss it. The exceptions:
#: `style-src 'unsafe-inline'`: ReDoc writes its styles into the page, both set `style` attributes;
#: `img-src data:`: Swagger UI's style sheet carries its icons;
#: `worker-src blob:`: ReDoc's search runs in a worker made from a string.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "worker-src blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_ASSET_HEADERS = {
    "Cache-Control": f"public, max-age={ASSETS_MAX_AGE_S}",
    "X-Content-Type-Options": "nosniff",
}

_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
}

#: The files that may be asked for: by ``ui``, the folder of the package and the names in it.
_SHIPPED: Mapping[str, tuple[str, frozenset[str]]] = {
    "swagger": ("swagger_ui", frozenset({"swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"})),
    "redoc": ("redoc_ui", frozenset({"redoc.standalone.js", "favicon-32x32.png"})),
}

#: The pages' own files. Scripts of their own, and not in the pages, so that the policy can forbid inline
#: ones.
_OWN: Mapping[tuple[str, str], str] = {
    ("swagger", "start.js"): """\
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: true,
  validatorUrl: null,
});
""",
    # Fonts of the system: ReDoc's own are Google's.
    ("redoc", "start.js"): """\
const sans = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
const mono = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace";
Redoc.init("/openapi.json", {
  jsonSamplesExpandLevel: "all",
  theme: { typography: { fontFamily: sans, headings: { fontFamily: sans }, code: { fontFamily: mono } } },
}, document.getElementById("page"));
""",
}

SWAGGER_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cursorpipe · Swagger UI</title>
<link rel="icon" type="image/png" href="/docs/assets/swagger/favicon-32x32.png">
<link rel="stylesheet" href="/docs/assets/swagger/swagger-ui.css">
<style>body { margin: 0; }</style>
</head>
<body>
<div id="page"></div>
<script src="/docs/assets/swagger/swagger-ui-bundle.js"></script>
<script src="/docs/assets/swagger/start.js"></script>
</body>
</html>
"""

REDOC_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cursorpipe · ReDoc</title>
<link rel="icon" type="image/png" href="/docs/assets/redoc/favicon-32x32.png">
<style>body { margin: 0; }</style>
</head>
<body>
<div id="page"></div>
<script src="/docs/assets/redoc/redoc.standalone.js"></script>
<script src="/docs/assets/redoc/start.js"></script>
</body>
</html>
"""


async def swagger_page(request: web.Request) -> web.Response:
    """Return the page on which the API can be tried out."""
    return web.Response(text=SWAGGER_PAGE, content_type="text/html", headers=_PAGE_HEADERS)


async def redoc_page(request: web.Request) -> web.Response:
    """Return the page on which the API can be read about."""
    return web.Response(text=REDOC_PAGE, content_type="text/html", headers=_PAGE_HEADERS)


async def docs_asset(request: web.Request) -> web.StreamResponse:
    """Return one of the files that the two pages need; raises HTTPNotFound for any other."""
    ui, name = request.match_info["ui"], request.match_info["name"]
    headers = {"Content-Type": _CONTENT_TYPES.get(Path(name).suffix, ""), **_ASSET_HEADERS}
    if (ui, name) in _OWN:
        return web.Response(text=_OWN[ui, name], headers=headers)
    if (ui, name) not in _FILES:
        raise web.HTTPNotFound
    return web.FileResponse(_FILES[ui, name], headers=headers)


def _shipped_files() -> dict[tuple[str, str], Path]:
    # A release of the package may lack a file: that is a 404 then, not a failure.
    package = find_spec(ASSETS_PACKAGE)
    roots = [Path(root) for root in (package and package.submodule_search_locations) or ()]
    return {
        (ui, name): root / folder / name
        for root in roots
        for ui, (folder, names) in _SHIPPED.items()
        for name in names
        if (root / folder / name).is_file()
    }


_FILES = _shipped_files()
