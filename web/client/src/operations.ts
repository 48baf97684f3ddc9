import { fields } from './schema.ts';

const presence = `{ ${fields} }`;

const session = '$url: String!, $title: String!, $sessionId: ID';
const page = 'url: $url, title: $title, sessionId: $sessionId';

export const CONNECT = `mutation Connect(${session}) { connect(${page}) ${presence} }`;
export const HEARTBEAT = `mutation Heartbeat(${session}) { heartbeat(${page}) ${presence} }`;
export const DISCONNECT = `mutation Disconnect($sessionId: ID, $graceMs: Int) { disconnect(sessionId: $sessionId, graceMs: $graceMs) ${presence} }`;
export const STATUSES = `query Statuses($userIds: [ID!]!) { statuses(userIds: $userIds) ${presence} }`;
export const ON_PRESENCE = `subscription OnPresence($watch: Watch!) { onPresence(watch: $watch) ${presence} }`;

/** How many users one statuses query may ask for. */
export const MAX_STATUSES = 100;

/** How many users one subscription may watch. */
export const MAX_WATCHED = 200;
