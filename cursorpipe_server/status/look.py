"""How the status page looks, how it renews itself, and the policy that allows just that."""

from __future__ import annotations

import base64
import hashlib

#: Seconds between two looks of the page at the server.
RENEW_S = 5

STYLE = """
:root { color-scheme: light dark; --back: #f5f6f8; --card: #fff; --ink: #1b2129; --soft: #5c6672;
  --edge: #dde1e7; --link: #0b57b0; --good: #177245; --wait: #8a5a00; --bad: #b3261e; --bar: #4a7fc1; }
@media (prefers-color-scheme: dark) { :root { --back: #12151a; --card: #1b2027; --ink: #e4e8ee;
  --soft: #98a3b1; --edge: #303844; --link: #82b4ff; --good: #57c78b; --wait: #e0ac4a; --bad: #ff8a80;
  --bar: #5b93d8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 70rem; background: var(--back); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; margin: 0; }
h2 { font-size: 1rem; margin: 0 0 .6rem; }
small, .soft, dt, th { color: var(--soft); font-size: .85rem; font-weight: normal; }
a { color: var(--link); }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .3rem .8rem; margin-bottom: 1rem; }
header .reason { flex-basis: 100%; }
.state { font-weight: 600; white-space: nowrap; }
.state::before { content: ""; display: inline-block; width: .65em; height: .65em; margin-right: .4em;
  border-radius: 50%; background: currentColor; }
.good { color: var(--good); } .wait { color: var(--wait); } .bad { color: var(--bad); }
.demo { border: 1px solid; border-radius: 1rem; padding: 0 .6rem; font-size: .85rem; }
main { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem; }
header, .wide { grid-column: 1 / -1; } header { margin: 0; }
section { background: var(--card); border: 1px solid var(--edge); border-radius: .5rem;
  padding: .8rem 1rem; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2rem 1rem; margin: 0;
  align-items: baseline; }
dd, p { margin: 0; }
.live { display: flex; flex-wrap: wrap; gap: .6rem 1.8rem; margin: 0 0 .9rem; }
.live div { display: flex; flex-direction: column-reverse; } .live dd { font-size: 1.5rem; line-height: 1.2; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
th, td { text-align: right; padding: .15rem 0 .15rem .8rem; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem 2rem; }
figure { margin: 0; } .plot { position: relative; margin-top: .3rem; }
.plot small { position: absolute; top: 0; left: 0; background: var(--card); padding-right: .3rem;
  line-height: 1.2; }
.axis { display: flex; justify-content: space-between; }
svg { display: block; width: 100%; height: 5.5rem; overflow: visible; }
svg .fine { fill: var(--bar); } svg .failed { fill: var(--bad); }
svg path { vector-effect: non-scaling-stroke; fill: none; }
svg .grid { stroke: var(--edge); stroke-width: 1; }
svg .line { stroke: var(--bar); stroke-width: 2.5; stroke-linecap: round; stroke-linejoin: round; }
ul { list-style: none; margin: 0; padding: 0; }
li { border-top: 1px solid var(--edge); padding: .45rem 0; } li:first-child { border: 0; padding-top: 0; }
li:last-child { padding-bottom: 0; }
li p { margin-top: .1rem; }
code { font: .85rem ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { margin-top: 1rem; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
#silent { margin-bottom: 1rem; color: var(--bad); font-weight: 600; }
@media (max-width: 46rem) { main, .charts { grid-template-columns: minmax(0, 1fr); }
  body { padding: .7rem; } }
"""

#: Nothing of what the server tells is in here; what it renews is parsed without running anything.
SCRIPT = f"""
"use strict";
// Without the name and the password that the address may have: no request can be made of those.
const here = location.origin + location.pathname;
const silent = document.getElementById("silent");
async function renew() {{
  if (document.hidden || !getSelection().isCollapsed) return;
  try {{
    const answer = await fetch(here, {{ cache: "no-store", signal: AbortSignal.timeout(10000) }});
    if (!answer.ok) throw new Error("status " + answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of ["title", "link", "main"])
      document.querySelector(part).replaceWith(page.querySelector(part));
    silent.hidden = true;
  }} catch (error) {{
    silent.textContent = "The server does not answer (" + error.message + "): this is not of now.";
    silent.hidden = false;
  }}
}}
async function go() {{ await renew(); setTimeout(go, {RENEW_S * 1000}); }}
setTimeout(go, {RENEW_S * 1000});
document.addEventListener("visibilitychange", renew);
"""


def _source(text: str) -> str:
    """Return what a policy calls an inline text by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


#: What the page may do: be styled and renewed by these two texts, look at this server, show its icon.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_source(STYLE)}",
        f"script-src {_source(SCRIPT)}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
