/* A stand-in of the Cursor Agent CLI that costs next to nothing, so that a benchmark measures the server.
 *
 * It speaks just enough of ACP (`acp`) and of print mode (`-p`), and the small commands `--version`,
 * `models` and `status`. What it answers comes from the environment, or from a word in the prompt,
 * `bench:chunks=200,bytes=20,pace=10000`, which wins:
 *
 *   chunks   pieces of an answer                                  BENCH_CHUNKS    1
 *   bytes    bytes of text in each                                BENCH_BYTES     20
 *   pace     microseconds from one piece to the next, 0: a burst  BENCH_PACE      0
 *   apart    1: streams that begin together do not go on in step
 *   tell     answer with the counts instead (no value)
 *            milliseconds before it reads its first line          BENCH_START_MS  0
 *            milliseconds that session/new takes                  BENCH_SESSION_MS 0
 *
 * Each piece begins with `~`, by which a client counts them; a paced one goes on with the monotonic time
 * in nanoseconds at which it was written, and `;`, by which a client on the same machine sees how late it
 * is. Bursts of several sessions are interleaved, SLICE pieces at a time. The counts go to stderr at the end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SLICE 8
#define READ_SIZE (256 * 1024)

struct text { const char *at; size_t size; };
struct plan { long chunks, bytes, pace, apart; int tell; };
struct turn { struct turn *next; char id[32]; char session[64]; struct plan plan; long sent; int64_t due; };
struct opening { struct opening *next; char id[32]; int64_t due; };

static struct plan usual;
static struct turn *turns;
static struct opening *openings, **last_opening = &openings;
static long prompts, cancels, sessions;
static char *out;
static size_t out_size, out_room;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static long setting(const char *name, long otherwise)
{
    const char *value = getenv(name);
    return value && *value ? atol(value) : otherwise;
}

static void *need(void *memory)
{
    if (!memory) abort();
    return memory;
}

static void put(const char *data, size_t size)
{
    if (out_size + size > out_room) {
        out_room = (out_size + size) * 2;
        out = need(realloc(out, out_room));
    }
    memcpy(out + out_size, data, size);
    out_size += size;
}

static void puts_out(const char *data) { put(data, strlen(data)); }

/* One write for what was put since the last one. The pipe may be full: then the agent waits, as it would. */
static void flush(void)
{
    for (size_t done = 0; done < out_size;) {
        ssize_t n = write(1, out + done, out_size - done);
        if (n < 0 && errno != EINTR) _exit(1);
        if (n > 0) done += (size_t)n;
    }
    out_size = 0;
}

/* ---- JSON: only as far as a message must be understood ---- */

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r')) p++;
    return p;
}

/* From the opening quote to behind the closing one; NULL if there is none. */
static const char *skip_string(const char *p, const char *end)
{
    const char *from = ++p;
    for (; (p = memchr(p, '"', (size_t)(end - p))); p++) {
        const char *back = p;
        while (back > from && back[-1] == '\\') back--;
        if ((p - back) % 2 == 0) return p + 1;
    }
    return NULL;
}

static const char *skip_value(const char *p, const char *end)
{
    int depth = 0;
    if (p < end && !memchr("\"{[", *p, 3)) {
        while (p < end && !memchr(",}] \t\r", *p, 6)) p++;
        return p;
    }
    do {
        if (*p == '"') {
            if (!(p = skip_string(p, end))) return NULL;
            continue;
        }
        depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
        p++;
    } while (depth && p < end);
    return p;
}

/* The raw value of a member of an object, strings without their quotes. */
static struct text member(struct text object, const char *name)
{
    struct text none = {NULL, 0};
    const char *p = object.at, *end = p + object.size;
    if (!p || p >= end || *p != '{') return none;
    for (p++; p && p < end;) {
        p = skip_space(p, end);
        if (p >= end || *p != '"') return none;
        const char *key = p + 1, *after = skip_string(p, end);
        if (!after) return none;
        size_t key_size = (size_t)(after - 1 - key);
        p = skip_space(after, end);
        if (p >= end || *p != ':') return none;
        const char *value = skip_space(p + 1, end);
        const char *behind = skip_value(value, end);
        if (!behind) return none;
        if (key_size == strlen(name) && !memcmp(key, name, key_size)) {
            struct text found = {value, (size_t)(behind - value)};
            if (*value == '"') { found.at++; found.size -= 2; }
            return found;
        }
        p = skip_space(behind, end);
        if (p < end && *p == ',') p++;
    }
    return none;
}

static int is(struct text text, const char *word)
{
    return text.at && text.size == strlen(word) && !memcmp(text.at, word, text.size);
}

static void keep(char *to, size_t room, struct text from)
{
    size_t size = from.size < room ? from.size : room - 1;
    if (from.at) memcpy(to, from.at, size);
    to[from.at ? size : 0] = 0;
}

/* ---- what is answered ---- */

static struct plan read_plan(const char *prompt, size_t size)
{
    struct plan plan = usual;
    const char *end = prompt + size, *p = memmem(prompt, size, "bench:", 6);
    if (!p) return plan;
    for (p += 6; p < end;) {
        const char *name = p;
        while (p < end && *p >= 'a' && *p <= 'z') p++;
        size_t name_size = (size_t)(p - name);
        long value = 0;
        if (p < end && *p == '=')
            for (p++; p < end && *p >= '0' && *p <= '9'; p++) value = value * 10 + (*p - '0');
        struct text word = {name, name_size};
        if (is(word, "chunks")) plan.chunks = value;
        else if (is(word, "bytes")) plan.bytes = value;
        else if (is(word, "pace")) plan.pace = value;
        else if (is(word, "apart")) plan.apart = value;
        else if (is(word, "tell")) { plan.tell = 1; plan.chunks = 1; }
        if (p >= end || *p != ',') break;
        p++;
    }
    return plan;
}

static void put_text(const struct plan *plan)
{
    static char filler[4096];
    char head[128];
    long left = plan->bytes;
    if (plan->tell) {
        snprintf(head, sizeof head, "~prompts=%ld cancels=%ld sessions=%ld;", prompts, cancels, sessions);
        puts_out(head);
        return;
    }
    if (!*filler) memset(filler, 'x', sizeof filler);
    left -= plan->pace ? snprintf(head, sizeof head, "~%lld;", (long long)now_ns()) : snprintf(head, sizeof head, "~");
    for (puts_out(head); left > 0; left -= (long)sizeof filler)
        put(filler, left < (long)sizeof filler ? (size_t)left : sizeof filler);
}

static void put_result(const char *id, const char *result)
{
    puts_out("{\"jsonrpc\":\"2.0\",\"id\":");
    puts_out(id);
    puts_out(",\"result\":");
    puts_out(result);
    puts_out("}\n");
}

/* ---- ACP ---- */

static void send_chunk(struct turn *turn)
{
    puts_out("{\"jsonrpc\":\"2.0\",\"method\":\"session/update\",\"params\":{\"sessionId\":\"");
    puts_out(turn->session);
    puts_out("\",\"update\":{\"sessionUpdate\":\"agent_message_chunk\",\"content\":{\"type\":\"text\",\"text\":\"");
    put_text(&turn->plan);
    puts_out("\"}}}}\n");
    turn->sent++;
}

static void open_session(const char *id)
{
    char result[512];
    snprintf(result, sizeof result,
             "{\"sessionId\":\"5e55-%08lx-%d\",\"modes\":{\"currentModeId\":\"agent\",\"availableModes\":["
             "{\"id\":\"agent\",\"name\":\"Agent\"},{\"id\":\"plan\",\"name\":\"Plan\"},{\"id\":\"ask\",\"name\":\"Ask\"}]}}",
             ++sessions, (int)getpid());
    put_result(id, result);
}

static void end_turn(struct turn **at, const char *reason)
{
    struct turn *turn = *at;
    char result[64];
    snprintf(result, sizeof result, "{\"stopReason\":\"%s\"}", reason);
    put_result(turn->id, result);
    *at = turn->next;
    free(turn);
}

static void cancel(struct text session)
{
    cancels++;
    for (struct turn **at = &turns; *at; at = &(*at)->next)
        if (is(session, (*at)->session)) { end_turn(at, "cancelled"); return; }
}

static void begin_turn(const char *id, struct text params)
{
    struct turn *turn = need(calloc(1, sizeof *turn)), **at = &turns;
    prompts++;
    snprintf(turn->id, sizeof turn->id, "%s", id);
    keep(turn->session, sizeof turn->session, member(params, "sessionId"));
    turn->plan = read_plan(params.at, params.size);
    turn->due = now_ns();
    /* 618 of 1000 spreads the turns evenly over the pace, however many there are. */
    if (turn->plan.apart) turn->due += turn->plan.pace * (prompts * 618 % 1000);
    while (*at) at = &(*at)->next;
    *at = turn;
}

static void hear(struct text line)
{
    struct text method = member(line, "method"), params = member(line, "params");
    char id[32];
    keep(id, sizeof id, member(line, "id"));
    if (!method.at) return;
    if (is(method, "session/prompt")) begin_turn(id, params);
    else if (is(method, "session/cancel")) cancel(member(params, "sessionId"));
    else if (is(method, "session/set_mode") || is(method, "authenticate")) put_result(id, "{}");
    else if (is(method, "initialize"))
        put_result(id, "{\"protocolVersion\":1,\"agentCapabilities\":{\"loadSession\":false,"
                       "\"promptCapabilities\":{\"audio\":false,\"embeddedContext\":false,\"image\":true}},"
                       "\"authMethods\":[{\"id\":\"cursor_login\",\"name\":\"Cursor Login\"}]}");
    else if (is(method, "session/new")) {
        long delay = setting("BENCH_SESSION_MS", 0);
        if (!delay) { open_session(id); return; }
        struct opening *opening = need(calloc(1, sizeof *opening));
        snprintf(opening->id, sizeof opening->id, "%s", id);
        opening->due = now_ns() + delay * 1000000;
        *last_opening = opening;
        last_opening = &opening->next;
    } else if (*id) {
        puts_out("{\"jsonrpc\":\"2.0\",\"id\":");
        puts_out(id);
        puts_out(",\"error\":{\"code\":-32601,\"message\":\"Method not found\"}}\n");
    }
}

/* Send what is due; returns the nanoseconds until something is again, -1 for never. */
static int64_t work(void)
{
    int64_t now = now_ns(), next = INT64_MAX;
    while (openings && openings->due <= now) {
        struct opening *opening = openings;
        open_session(opening->id);
        openings = opening->next;
        if (!openings) last_opening = &openings;
        free(opening);
    }
    if (openings) next = openings->due;
    for (struct turn **at = &turns; *at;) {
        struct turn *turn = *at;
        struct plan *plan = &turn->plan;
        for (int n = 0; n < SLICE && turn->sent < plan->chunks && turn->due <= now; n++) {
            send_chunk(turn);
            turn->due += plan->pace * 1000;
            if (plan->pace) flush(); /* as an agent does: one write for what it has just thought of */
        }
        if (turn->sent >= plan->chunks) { end_turn(at, "end_turn"); continue; }
        if (turn->due < next) next = turn->due;
        flush();
        at = &turn->next;
    }
    flush();
    if (next == INT64_MAX) return -1;
    now = now_ns();
    return next > now ? next - now : 0;
}

static int serve_acp(void)
{
    size_t room = 2 * READ_SIZE, held = 0, seen = 0;
    char *buffer = need(malloc(room));
    struct pollfd in = {0, POLLIN, 0};
    for (;;) {
        int64_t wait = work();
        struct timespec t = {wait / 1000000000, wait % 1000000000};
        if (ppoll(&in, 1, wait < 0 ? NULL : &t, NULL) <= 0) continue;
        if (held + READ_SIZE > room) buffer = need(realloc(buffer, room *= 2));
        ssize_t n = read(0, buffer + held, READ_SIZE);
        if (n <= 0) break;
        held += (size_t)n;
        char *from = buffer, *end;
        while ((end = memchr(buffer + seen, '\n', held - seen))) {
            struct text line = {from, (size_t)(end - from)};
            hear(line);
            from = end + 1;
            seen = (size_t)(from - buffer);
        }
        held -= (size_t)(from - buffer);
        memmove(buffer, from, held);
        seen = held;
    }
    fprintf(stderr, "prompts=%ld cancels=%ld sessions=%ld\n", prompts, cancels, sessions);
    return 0;
}

/* ---- print mode ---- */

static void nap(int64_t ns)
{
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    if (ns > 0) nanosleep(&t, NULL);
}

static void put_message(const struct plan *plan, long pieces)
{
    puts_out("{\"type\":\"assistant\",\"message\":{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"");
    while (pieces--) put_text(plan);
    puts_out("\"}]},\"session_id\":\"S\"");
}

static int print_answer(void)
{
    size_t room = READ_SIZE, held = 0;
    char *prompt = need(malloc(room));
    char text[128];
    for (ssize_t n; (n = read(0, prompt + held, room - held)) > 0;)
        if ((held += (size_t)n) == room) prompt = need(realloc(prompt, room *= 2));
    struct plan plan = read_plan(prompt, held), silent;
    int64_t due = now_ns();
    puts_out("{\"type\":\"system\",\"subtype\":\"init\",\"apiKeySource\":\"env\",\"cwd\":\"/\",\"session_id\":\"S\","
             "\"model\":\"Bench\",\"permissionMode\":\"default\"}\n"
             "{\"type\":\"user\",\"message\":{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"-\"}]},"
             "\"session_id\":\"S\"}\n");
    for (long n = 0; n < plan.chunks; n++) {
        put_message(&plan, 1);
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        snprintf(text, sizeof text, ",\"timestamp_ms\":%lld}\n", (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000);
        puts_out(text);
        if (plan.pace) { flush(); nap((due += plan.pace * 1000) - now_ns()); }
    }
    /* The repeats of a paced answer would carry other times than its pieces did: they are left empty. */
    silent = plan;
    if (!plan.pace) { put_message(&silent, plan.chunks); puts_out("}\n"); }
    puts_out("{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"duration_ms\":1,\"duration_api_ms\":1,\"result\":\"");
    for (long n = 0; !plan.pace && n < plan.chunks; n++) put_text(&silent);
    puts_out("\",\"session_id\":\"S\",\"request_id\":\"R\",\"usage\":{\"inputTokens\":10,\"outputTokens\":10,"
             "\"cacheReadTokens\":0,\"cacheWriteTokens\":0}}\n");
    flush();
    return 0;
}

int main(int count, char **words)
{
    usual.chunks = setting("BENCH_CHUNKS", 1);
    usual.bytes = setting("BENCH_BYTES", 20);
    usual.pace = setting("BENCH_PACE", 0);
    for (int n = 1; n < count; n++) {
        if (!strcmp(words[n], "--version") || !strcmp(words[n], "-v")) return puts("2026.09.23-bench") < 0;
        if (!strcmp(words[n], "models") || !strcmp(words[n], "--list-models"))
            return puts("Available models\n\nauto - Auto (default)\nbench-1 - Bench 1\n") < 0;
        if (!strcmp(words[n], "status")) return puts("\xe2\x9c\x93 Logged in as bench@example.com") < 0;
        if (!strcmp(words[n], "acp")) { nap(setting("BENCH_START_MS", 0) * 1000000LL); return serve_acp(); }
        if (!strcmp(words[n], "-p") || !strcmp(words[n], "--print")) {
            nap(setting("BENCH_START_MS", 0) * 1000000LL);
            return print_answer();
        }
    }
    fputs("error: this agent speaks acp and -p only\n", stderr);
    return 1;
}
