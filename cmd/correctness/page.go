package main

// pageTop is followed by the table of faults.
const pageTop = `# Correctness

The resolvers, the store and its scripts, run through simulated histories in
which everything around them goes wrong. What is simulated, and what is
checked after every step, is written in [internal/sim](../internal/sim); the
same on real Redis, the real Lambda binary and separate processes is in
[test/chaos](../test/chaos). Made by

    %s

## Nothing lost, nobody falsely offline

%d random histories (seeds 1 to %[2]d) with %d calls of the handler. Invariants
that did not hold: **%d**.

A history can be read, and run again, by its seed:

    go test ./internal/sim -run Histories -v -seed 123

| fault injected | times |
|---|--:|
`

// pageMiddle is followed by the table of measured runs.
const pageMiddle = `
The checker is checked: with any of the AppSync presence sample's defects put
back (lost timeouts, silent resurrection, events taken for the truth, a timeout
without slack, no sessions, stale reads, the query before the subscription,
heartbeats as queries), it finds the history that goes wrong
(` + "`go test ./internal/sim -run Defects -v`" + `).

The checker was wrong twice. Of 8,000 histories from seed 77,000,000 on, those of
seeds 77004310 and 77007110 were reported as violations of bound (3), that every
change is known to watchers in time. In the first, somebody's grace ended while
Redis failed over, and no sweep could read it until the replica had taken over.
In the second, the network lost the answers to a watcher's first queries, so it
did not know yet that somebody who had never come was offline. The product did
what it could in both. The checker now counts the seconds without Redis in a
failover as a disturbance. A watcher whose first query is not answered has to
know what changed after it subscribed, and not what was before. Both are kept as
scripted histories, each beside a real fault that looks like it
(` + "`go test ./internal/sim -run Scripts -v`" + `).

## How often, how fast

%d users with one tab each. Half of them crash, at times drawn at random; the
others stay. *False* is how often somebody was announced to have timed out with
a tab open and awake. *Known after* is how long after a crash a watcher was told,
in seconds. *Never known* is how many crashed and are still believed to be there
when the retries are over, *stuck* how many of the others are then believed to be
offline. The watcher is told and never asks, unless said otherwise: what a
Lambda instance has acknowledged when it dies, or AppSync fails to deliver, a
watcher learns by asking about people it should have heard of, as the clients
do. Clients send a call again after 5 s without an answer, unless said
otherwise; lost are requests, each on its own. A heartbeat is sent up to 5 %%
early. After an outage the sweep gives everybody one timeout to come back, so
crashes around it are known late.

The *sample* is our port of the AppSync presence sample's algorithm, not its
code: one sorted set, users taken out of it before they are published, a
heartbeat and a timeout of 10 s, a sweep a minute, no asOf.

A row alone: ` + "`%s -row \"fast 10/35, 1 %% lost\"`" + `.

| heartbeat/timeout (s) and what goes wrong | seed | user-hours | false | false per user-hour | known after: median | 95 %% | most | never known | stuck |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`

const pageEnd = `
A crash is known, in the middle, after the timeout less half a heartbeat: that
long ago was the last heartbeat.
`
