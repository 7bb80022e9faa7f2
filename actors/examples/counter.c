/* An actor in C, with nothing but libc. docs/actor-contract.md is the contract that it keeps.
 *
 * One loop does everything: `turn` connects (and connects again, for ever), reads orders, works and beats. Answers and
 * notes go into the ring `said`: what is not acknowledged is sent again after each hello; a repeated order finds
 * its answer there. Messages are protobuf by hand: a field is a key (its number * 8 + its wire type), and then a varint
 * (type 0), eight bytes (1), a length and so many bytes (2), or four bytes (5).
 *
 * For an actor of your own change `carry_out` and `work`. Build: cc -std=c11 -o counter counter.c
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BOOTED = 7, LOADING, UNLOADING, LOADED, CONFIGURING, UNCONFIGURING, CONFIGURED, STARTING, STOPPING, TAKING,
       PAUSING, RESUMING, PAUSED };                                                      /* State in common.proto */
enum { LOAD = 4, UNLOAD, CONFIGURE, UNCONFIGURE, START, STOP, PAUSE, RESUME, COMMANDS }; /* Command, likewise */
enum { HELLO = 2, ANSWER, HEARTBEAT, NOTE, INFO = 1 };                                   /* in FromActor; Severity */
enum { ID_MAX = 1024, BYTES_MAX = 4096, SAID_MAX = 256, MESSAGE_MAX = 4 << 20, TURN_MS = 50 };

static const char *const STATES[] = { [BOOTED] = "booted", "loading", "unloading", "loaded", "configuring",
    "unconfiguring", "configured", "starting", "stopping", "taking", "pausing", "resuming", "paused" };
static const struct { const char *name; int from, or_from, via, to; } TABLE[COMMANDS] = {
    [LOAD] = { "load", BOOTED, 0, LOADING, LOADED }, [CONFIGURE] = { "configure", LOADED, 0, CONFIGURING, CONFIGURED },
    [START] = { "start", CONFIGURED, 0, STARTING, TAKING }, [STOP] = { "stop", TAKING, PAUSED, STOPPING, CONFIGURED },
    [PAUSE] = { "pause", TAKING, 0, PAUSING, PAUSED }, [RESUME] = { "resume", PAUSED, 0, RESUMING, TAKING },
    [UNLOAD] = { "unload", LOADED, 0, UNLOADING, BOOTED }, [0] = { .name = "this order" },
    [UNCONFIGURE] = { "unconfigure", CONFIGURED, 0, UNCONFIGURING, LOADED } };
typedef struct { size_t size; uint8_t data[BYTES_MAX]; } Bytes; /* being written */
typedef struct { const uint8_t *at, *end; } Slice;              /* being read */
typedef struct { uint64_t number, value; Slice bytes; } Field;

static volatile sig_atomic_t terminated;
static int state = BOOTED, agent = -1; /* agent: the connection, or -1 */
static uint64_t run_number, stopped_run, turns, sequence, acknowledged;
static double beat_interval_s = 1, beat_at_s, dial_at_s, retry_s = 0.05;
static char last_id[ID_MAX + 1], reason[200], *nonce;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static struct { int kind; Bytes body; } said[SAID_MAX]; /* sequence n lies at n % SAID_MAX */
static struct { size_t size; uint8_t data[MESSAGE_MAX + 16]; } in; /* what has come and is not whole yet */

static double now_s(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + 1e-9 * t.tv_nsec; }
static void hang_up(void) { /* and dial again, later each time, until an agent has acknowledged something */
    close(agent); agent = -1;
    dial_at_s = now_s() + retry_s;
    retry_s = retry_s < 1 ? 2 * retry_s : 2;
}
static void put(Bytes *to, const void *data, size_t size) {
    if (size > BYTES_MAX - to->size) abort(); /* cannot be: all that is said here is short */
    memcpy(to->data + to->size, data, size); to->size += size;
}
static void put_varint(Bytes *to, uint64_t value) {
    for (; value >= 0x80; value >>= 7) put(to, &(uint8_t){ value | 0x80 }, 1);
    put(to, &(uint8_t){ value }, 1);
}
static void put_number(Bytes *to, int field, uint64_t value) { put_varint(to, field * 8); put_varint(to, value); }
static void put_bytes(Bytes *to, int field, const void *data, size_t size) {
    put_varint(to, field * 8 + 2); put_varint(to, size); put(to, data, size);
}
static void put_text(Bytes *to, int field, const char *text) { put_bytes(to, field, text, strlen(text)); }
static void put_counters(Bytes *to, int field) { /* each entry of a map is a field, with the key as 1, the value as 2 */
    Bytes entry = {0};
    put_text(&entry, 1, "turns"); put_number(&entry, 2, turns); put_bytes(to, field, entry.data, entry.size);
}
static bool take_varint(Slice *from, uint64_t *value) {
    *value = 0;
    for (int shift = 0; from->at < from->end && shift < 64; shift += 7) {
        *value |= (uint64_t)(*from->at & 0x7f) << shift;
        if (*from->at++ < 0x80) return true;
    }
    return false;
}
static bool take_field(Slice *from, Field *field) { /* false at the end, and, with the link gone, for nonsense */
    uint64_t key;
    if (from->at == from->end) return false;
    bool sound = take_varint(from, &key);
    int type = key & 7;
    if (type == 0 || type == 2) sound = sound && take_varint(from, &field->value);
    uint64_t size = type == 2 ? field->value : type == 0 ? 0 : type == 1 ? 8 : type == 5 ? 4 : UINT64_MAX;
    if (!sound || size > (uint64_t)(from->end - from->at)) { hang_up(); return false; }
    field->number = key >> 3;
    field->bytes = (Slice){ from->at, from->at + size };
    from->at += size;
    return true;
}

static void say(uint64_t number, int kind, const Bytes *body) { /* FromActor, behind its length */
    Bytes message = {0}, frame = { 0 };
    put_number(&message, 1, number); put_bytes(&message, kind, body->data, body->size);
    put_varint(&frame, message.size); put(&frame, message.data, message.size);
    if (agent >= 0 && send(agent, frame.data, frame.size, MSG_NOSIGNAL) != (ssize_t)frame.size)
        shutdown(agent, SHUT_RDWR); /* its last words are still to be read, and end in an end of file */
}
static void keep(int kind, const Bytes *body) {
    said[++sequence % SAID_MAX].kind = kind; said[sequence % SAID_MAX].body = *body;
    say(sequence, kind, body);
}
static void note(const char *code, const char *text) { /* for people: one for each cause, never for each event */
    Bytes body = {0}; put_number(&body, 1, INFO); put_text(&body, 2, code); put_text(&body, 3, text); keep(NOTE, &body);
}
static void beat(void) {
    Bytes body = {0}; beat_at_s = now_s() + beat_interval_s;
    put_number(&body, 1, state); put_text(&body, 2, "counts turns"); put_counters(&body, 3); say(0, HEARTBEAT, &body);
}
static void dial(void) {
    Bytes body = {0};
    in.size = 0;
    agent = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connect(agent, (struct sockaddr *)&address, sizeof address) < 0) { hang_up(); return; }
    put_number(&body, 1, 1); put_text(&body, 2, nonce); put_number(&body, 3, getpid()); put_text(&body, 4, "counter.c");
    put_number(&body, 5, state); put_text(&body, 6, last_id); put_number(&body, 7, run_number); say(0, HELLO, &body);
    for (uint64_t n = acknowledged + 1; n <= sequence; n++) say(n, said[n % SAID_MAX].kind, &said[n % SAID_MAX].body);
    beat();
}

static bool judge(int command, uint64_t run) { /* false: `reason` says why the order is not carried out */
    bool wrong_state = state != TABLE[command].from && state != TABLE[command].or_from;
    bool wrong_run = command == START ? run <= stopped_run : command == STOP && run != 0 && run != run_number;
    if (wrong_state) snprintf(reason, sizeof reason, "%s is not possible in %s", TABLE[command].name, STATES[state]);
    else if (wrong_run) snprintf(reason, sizeof reason, "run %d refused: the last was %d", (int)run, (int)run_number);
    return !wrong_state && !wrong_run;
}
static bool carry_out(int command, uint64_t run, Slice parameters) { /* slower than a second: `beat` meanwhile */
    if (parameters.at < parameters.end) { strcpy(reason, "this actor has no parameters: take them out"); return false; }
    if (command == START) { run_number = run; turns = 0; }
    if (command == STOP) { stopped_run = run_number; note("run-ended", "the run has ended, and so has the counting"); }
    return true;
}
static void work(void) { turns++; } /* while taking: here a block of data would be handled, within a second */

static void take_order(Slice from) {
    char id[ID_MAX + 1] = "";
    int command = 0, before = state; uint64_t run = 0;
    Slice parameters = { from.end, from.end };
    Bytes body = {0};
    for (Field field; take_field(&from, &field);)
        if (field.number == 1) snprintf(id, sizeof id, "%.*s", (int)(field.bytes.end - field.bytes.at), field.bytes.at);
        else if (field.number == 2) command = field.value >= LOAD && field.value < COMMANDS ? field.value : 0;
        else if (field.number == 4) run = field.value;
        else if (field.number == 5) parameters = field.bytes;
    if (agent < 0) return; /* it was nonsense */
    put_text(&body, 1, id);
    for (int i = 0; i < SAID_MAX; i++) /* an answer begins with the id of its order */
        if (said[i].kind == ANSWER && !memcmp(said[i].body.data, body.data, body.size)) {
            keep(ANSWER, &said[i].body);
            return;
        }
    bool ok = judge(command, run);
    if (ok) { strcpy(last_id, id); state = TABLE[command].via; beat(); ok = carry_out(command, run, parameters); }
    state = ok ? TABLE[command].to : before;
    put_number(&body, 2, ok); put_text(&body, 3, ok ? "" : reason); put_number(&body, 4, state); put_counters(&body, 5);
    keep(ANSWER, &body);
    fprintf(stderr, "%s: %s\n", TABLE[command].name, ok ? "done" : reason);
}
static void receive(void) {
    uint64_t size = 0;
    ssize_t got = recv(agent, in.data + in.size, sizeof in.data - in.size, 0);
    if (got <= 0) { hang_up(); return; }
    Slice message, rest = { in.data, in.data + (in.size += got) };
    while (message = rest, take_varint(&message, &size) && size <= (uint64_t)(message.end - message.at)) {
        rest.at = message.end = message.at + size;
        for (Field body, part; take_field(&message, &body);)
            if (body.number == 1) take_order(body.bytes);
            else if (body.number == 2 && take_field(&body.bytes, &part)) { acknowledged = part.value; retry_s = 0.05; }
            else if (body.number == 3) fprintf(stderr, "refused by the agent: is GRANGE_NONCE of this instance?\n");
        if (agent < 0) return;
    }
    if (size > MESSAGE_MAX) hang_up();
    else memmove(in.data, rest.at, in.size = rest.end - rest.at);
}
static void turn(void) {
    if (agent < 0 && now_s() >= dial_at_s) dial();
    if (poll(&(struct pollfd){ agent, POLLIN, 0 }, 1, TURN_MS) > 0) receive();
    if (state == TAKING) work();
    if (agent >= 0 && now_s() >= beat_at_s) beat();
}
static void on_sigterm(int number) { terminated = number; }

int main(void) {
    const char *path = getenv("GRANGE_ACTOR_SOCKET"), *timeout_s = getenv("GRANGE_HEARTBEAT_TIMEOUT_S");
    nonce = getenv("GRANGE_NONCE");
    if (path == NULL || strlen(path) >= sizeof address.sun_path || nonce == NULL || strlen(nonce) > ID_MAX) {
        fputs("GRANGE_ACTOR_SOCKET or GRANGE_NONCE is missing or too long: agents set them for actors\n", stderr);
        return 2;
    }
    strcpy(address.sun_path, path);
    if (timeout_s != NULL && atof(timeout_s) > 0 && atof(timeout_s) < 5) beat_interval_s = atof(timeout_s) / 5;
    signal(SIGTERM, on_sigterm); signal(SIGINT, SIG_IGN);
    while (!terminated) turn();
    return 0;
}
