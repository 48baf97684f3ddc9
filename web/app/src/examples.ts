import { fields as names } from 'presence-client';

const fields = `{\n    ${names.replaceAll(' ', '\n    ')}\n  }`;

const page = { url: 'https://example.com/report', title: 'Report', sessionId: 'console' };

const example = (query: string, variables?: Record<string, unknown>) => ({ query, variables: JSON.stringify(variables, null, 2) });

/** The tabs a new visitor finds: one for each thing the API does. */
export const examples = [
  example(
    `# Who is there? Users never seen are offline.
query Statuses {
  statuses(userIds: ["alice", "bob"]) ${fields}
}
`,
  ),
  example(
    `# Start it. Then run Connect in a second window,
# or open the live page as alice.
subscription OnPresence($watch: Watch!) {
  onPresence(watch: $watch) ${fields}
}
`,
    { watch: { userIds: ['alice', 'bob'] } },
  ),
  example(
    `# You opened a page, or its URL changed.
# The answer is for you alone; watchers are told
# everything, whatever you select here.
mutation Connect($url: String!, $title: String!, $sessionId: ID) {
  connect(url: $url, title: $title, sessionId: $sessionId) ${fields}
}
`,
    page,
  ),
  example(
    `# You are still there. Without it you are offline
# at expiresAt.
mutation Heartbeat($url: String!, $title: String!, $sessionId: ID) {
  heartbeat(url: $url, title: $title, sessionId: $sessionId) ${fields}
}
`,
    page,
  ),
  example(
    `# You closed the page. With graceMs, nobody is told
# if you are back by then. The answer is how others
# see you now.
mutation Disconnect($sessionId: ID, $graceMs: Int) {
  disconnect(sessionId: $sessionId, graceMs: $graceMs) ${fields}
}
`,
    { sessionId: 'console', graceMs: 0 },
  ),
];
