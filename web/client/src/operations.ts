// Subscribers receive the fields a mutation selects, so each selects them all.
const fields = '{ userId status url title lastSeen asOf expiresAt heartbeatIntervalMs }';

const session = '$url: String!, $title: String!, $sessionId: ID';
const page = 'url: $url, title: $title, sessionId: $sessionId';

export const CONNECT = `mutation Connect(${session}) { connect(${page}) ${fields} }`;
export const HEARTBEAT = `mutation Heartbeat(${session}) { heartbeat(${page}) ${fields} }`;
export const DISCONNECT = `mutation Disconnect($sessionId: ID, $graceMs: Int) { disconnect(sessionId: $sessionId, graceMs: $graceMs) ${fields} }`;
export const STATUSES = `query Statuses($userIds: [ID!]!) { statuses(userIds: $userIds) ${fields} }`;
export const ON_STATUS = `subscription OnStatus($userId: ID!) { onStatus(userId: $userId) ${fields} }`;

/** How many users one statuses query may ask for. */
export const MAX_STATUSES = 100;
