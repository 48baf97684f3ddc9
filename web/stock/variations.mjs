// What a mutation of anybody may select, and how. Watchers must not notice.

const all = 'userId status url title lastSeen asOf expiresAt heartbeatIntervalMs';

/** The spoof of the trials: it moves the title to the place of the user's id. */
export const spoof = 'userId: title status url title: url lastSeen asOf: expiresAt expiresAt heartbeatIntervalMs';

/** Each makes a document of a call, connect(…) say, which gets a selection and perhaps an alias. */
export const variations = {
  'all fields': (call, vars) => `mutation ${vars} { ${call} { ${all} } }`,
  'one field': (call, vars) => `mutation ${vars} { ${call} { userId } }`,
  'no field of its own': (call, vars) => `mutation ${vars} { ${call} { __typename } }`,
  'without asOf': (call, vars) => `mutation ${vars} { ${call} { userId status url title } }`,
  'aliases of fields': (call, vars) => `mutation ${vars} { ${call} { ${spoof} } }`,
  'an alias on the root field': (call, vars) => `mutation ${vars} { mine: ${call} { ${all} } }`,
  'the watchers’ field as alias': (call, vars) => `mutation ${vars} { onPresence: ${call} { userId status } }`,
  'the announcing field as alias': (call, vars) => `mutation ${vars} { connected: ${call} { ${spoof} } }`,
  'a false time': (call, vars) => `mutation ${vars} { ${call} { ${all.replace('asOf', 'asOf: expiresAt')} } }`,
  'names exchanged': (call, vars) => `mutation ${vars} { ${call} { userId: status status: userId asOf: lastSeen } }`,
  'topics under a false name': (call, vars) => `mutation ${vars} { ${call} { userId: title topics: url status asOf } }`,
  'a false userId in a fragment': (call, vars) => `mutation ${vars} { ${call} { ...P } } fragment P on Presence { ${spoof} }`,
  'a fragment of all fields': (call, vars) => `mutation ${vars} { ${call} { ...P } } fragment P on Presence { ${all} }`,
  'a fragment of one field': (call, vars) => `mutation ${vars} { ${call} { ...P } } fragment P on Presence { url }`,
  'an inline fragment': (call, vars) => `mutation ${vars} { ${call} { ... on Presence { ${all} } } }`,
  'an inline fragment of one field': (call, vars) => `mutation ${vars} { ${call} { ... { title } } }`,
  'a fragment around the root field': (call, vars) => `mutation ${vars} { ...M } fragment M on Mutation { ${call} { userId } }`,
  'an inline fragment around the root field': (call, vars) => `mutation ${vars} { ... on Mutation { mine: ${call} { ${all} } } }`,
  '@skip on fields': (call, vars) => `mutation ${vars} { ${call} { userId status @skip(if: true) asOf @skip(if: true) } }`,
  '@include on a fragment': (call, vars) => `mutation ${vars} { ${call} { userId ... @include(if: false) { status asOf } } }`,
  '@include on the root field': (call, vars) => `mutation ${vars} { ${call} @include(if: true) { title } }`,
};

const page = ['($url: String!, $title: String!)', '(url: $url, title: $title)'];

/** The mutations that anybody may send, as what the user's watchers see after each. */
export const mutations = [
  { call: `connect${page[1]}`, vars: page[0], status: 'online' },
  { call: `heartbeat${page[1]}`, vars: page[0], status: 'online' },
  { call: 'disconnect', vars: '', status: 'offline' },
];
