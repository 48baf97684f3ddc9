import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';
import { WebSocket } from 'ws';
import { eventually, Server } from '../testing/server.mjs';
import { mutations, spoof, variations } from './variations.mjs';

/** Our client library, built: its adapters are for these very clients. */
export const library = await import('../client/dist/index.js');

// Documents as an application would write them. Apollo adds __typename.
const fields = 'userId status url title lastSeen asOf expiresAt heartbeatIntervalMs';
const STATUSES = `query Statuses($userIds: [ID!]!) { statuses(userIds: $userIds) { ${fields} } }`;
const CONNECT = `mutation Connect($url: String!, $title: String!) { connect(url: $url, title: $title) { ${fields} } }`;
// Subscriptions filter by topics, and AppSync filters by what the mutation selects.
const CONNECTED = `mutation Connected($userId: ID!) { connected(userId: $userId) { ${fields} topics } }`;
const ON_STATUS = `subscription OnStatus($userId: ID!) { onStatus(userId: $userId) { ${fields} } }`;
const ON_PRESENCE = `subscription OnPresence($watch: Watch!) { onPresence(watch: $watch) { ${fields} } }`;

export const region = 'us-east-1';
export const credentials = { accessKeyId: 'AKIATEST', secretAccessKey: 'secret' };
const wrongCredentials = { ...credentials, secretAccessKey: 'wrong' };

let server;
let changes = 0;

/** The WebSocket of the clients: it trusts the server's certificate, and remembers what went over it. */
class Socket extends WebSocket {
  static all = [];
  frames = [];

  constructor(url, protocols) {
    super(url, protocols, { ca: readFileSync(server.certificate) });
    Socket.all.push(this);
    this.on('message', (data) => this.frames.push(JSON.parse(data)));
  }

  send(data, ...rest) {
    this.frames.push(JSON.parse(data));
    super.send(data, ...rest);
  }

  static count(type) {
    return Socket.all.flatMap((socket) => socket.frames).filter((frame) => frame.type === type).length;
  }
}
globalThis.WebSocket = Socket;

/**
 * suite tests a client. connect makes one in a mode, userPool or iam, from
 * { endpoint, token, credentials }, token being a function that resolves to a
 * JWT. The client has request(document, variables), which resolves to the data or
 * rejects, and subscribe(document, variables, next, error), which returns what
 * ends it; signIn, if it keeps a token, gets a new one; adapted, if there is an
 * adapter in our library, is itself in that. restores says that the client
 * subscribes again by itself.
 */
export function suite(name, { modes, restores, connect }) {
  before(async () => {
    server = await Server.start();
  });
  after(() => server?.stop());

  for (const mode of modes) {
    const by = (token, credentials) => connect(mode, { endpoint: server.endpoint, token, credentials });
    const client = () => by(() => server.token('alice'), credentials);
    const broken = () => by(async () => `${(await server.token('alice')).slice(0, -8)}AAAAAAAA`, wrongCredentials);

    /** Changes a user's page, past the client, and resolves to that page. */
    const change = async (user) => {
      const page = { url: `https://example.com/${user}/${++changes}`, title: user };
      await server.call(user, CONNECT, page);
      return page;
    };

    /** Subscribes and waits until the server has accepted it. */
    const watchBy = async (client, document, variables) => {
      const watching = { seen: [], errors: [] };
      const acks = Socket.count('start_ack');
      watching.stop = await client.subscribe(
        document,
        variables,
        (data) => watching.seen.push(data && Object.values(data).find((value) => typeof value !== 'string')),
        (cause) => watching.errors.push(cause),
      );
      await eventually(`subscription by ${JSON.stringify(variables)}`, () => Socket.count('start_ack') > acks);
      return watching;
    };
    const watch = (client, userId) => watchBy(client, ON_STATUS, { userId });
    const sees = (watching, userId) => eventually(`news of ${userId}`, () => watching.seen.find((p) => p?.userId === userId));

    test(`${name} ${mode}: query`, async () => {
      const { statuses } = await (await client()).request(STATUSES, { userIds: ['nobody', 'nobody'] });
      assert.deepEqual(
        statuses.map(({ userId, status, lastSeen }) => ({ userId, status, lastSeen })),
        Array(2).fill({ userId: 'nobody', status: 'offline', lastSeen: null }),
      );
    });

    test(`${name} ${mode}: mutation, and subscription with data`, async () => {
      const alice = await client();
      const watching = await watch(alice, 'alice');
      if (mode === 'iam') {
        // IAM callers have no user of their own, and announce others.
        const { connected } = await alice.request(CONNECTED, { userId: 'alice' });
        assert.equal(connected.userId, 'alice');
      } else {
        const { connect } = await alice.request(CONNECT, { url: 'https://example.com/', title: 'Example' });
        assert.equal(connect.status, 'online');
      }
      const seen = await sees(watching, 'alice');
      if (mode !== 'iam') {
        const { userId, status, url, title, heartbeatIntervalMs } = seen;
        assert.deepEqual(
          { userId, status, url, title, heartbeatIntervalMs },
          { userId: 'alice', status: 'online', url: 'https://example.com/', title: 'Example', heartbeatIntervalMs: 30_000 },
        );
      }
      assert.deepEqual(watching.errors, []);
      watching.stop();
    });

    test(`${name} ${mode}: a second subscription on the same socket, and unsubscribe`, async () => {
      const alice = await client();
      const bob = await watch(alice, 'bob');
      const sockets = Socket.all.length;
      const carol = await watch(alice, 'carol');
      assert.equal(Socket.all.length, sockets);
      await change('carol');
      await sees(carol, 'carol');
      await change('bob');
      await sees(bob, 'bob');
      assert.ok(carol.seen.every((presence) => presence.userId === 'carol'));

      const completes = Socket.count('complete');
      const before = carol.seen.length;
      carol.stop();
      await eventually('complete', () => Socket.count('complete') > completes);
      bob.seen.length = 0;
      await change('carol');
      await change('bob');
      await sees(bob, 'bob');
      assert.equal(carol.seen.length, before);
      assert.deepEqual([...bob.errors, ...carol.errors], []);
      bob.stop();
    });

    test(`${name} ${mode}: no mutation of anybody disturbs a watcher`, async () => {
      const users = ['frank', 'bob'];
      const watching = await watchBy(await client(), ON_PRESENCE, { watch: { userIds: users } });
      const told = [];
      /** Sends a mutation that changes frank, and waits until the watcher has been told something new. */
      const send = async (what, document, variables, { status, ...shown }) => {
        const { errors } = await server.call('frank', document, variables);
        assert.equal(errors, undefined, `${what}: ${inspect(errors)}`);
        told.push({ userId: 'frank', status, ...shown });
        await eventually(`news after ${what}`, () => watching.seen.length >= told.length);
      };
      for (const [what, document] of Object.entries(variations)) {
        for (const { call, vars, status } of mutations) {
          const page = { url: `https://example.com/${told.length}`, title: `${told.length}` };
          const shown = status === 'online' ? page : { url: null, title: null };
          await send(`${call} with ${what}`, document(call, vars), vars ? page : {}, { status, ...shown });
        }
      }
      const evil = { url: 'https://evil.example/login', title: 'bob' };
      const attack = `mutation { connect(url: "${evil.url}", title: "${evil.title}") { ${spoof} } }`;
      await send('the spoof', attack, {}, { status: 'online', ...evil });
      // Bob's own change still counts, and nothing was told twice before it.
      told.push({ userId: 'bob', status: 'online', ...(await change('bob')) });
      await eventually('news of bob', () => watching.seen.length >= told.length);
      assert.deepEqual(
        watching.seen.map(({ userId, status, url, title }) => ({ userId, status, url, title })),
        told,
      );
      for (const { asOf, lastSeen, expiresAt, status, heartbeatIntervalMs } of watching.seen) {
        assert.ok(asOf && lastSeen && heartbeatIntervalMs === 30_000 && Boolean(expiresAt) === (status === 'online'));
      }
      assert.deepEqual(watching.errors, []);
      watching.stop();
      await server.call('frank', 'mutation { disconnect { userId } }');
      await server.call('bob', 'mutation { disconnect { userId } }');
    });

    test(`${name} ${mode}: bad credentials are refused over HTTP`, async () => {
      await assert.rejects(
        async () => (await broken()).request(STATUSES, { userIds: ['alice'] }),
        (cause) => /unauthorized|not authorized|401|403|signature|unknown error/i.test(inspect(cause, { depth: 5 })),
      );
    });

    test(`${name} ${mode}: bad credentials are refused over the socket`, async () => {
      const errors = [];
      const stop = await (
        await broken()
      ).subscribe(
        ON_STATUS,
        { userId: 'alice' },
        () => {},
        (cause) => errors.push(cause),
      );
      await eventually('an error', () => errors.length);
      assert.match(inspect(errors[0], { depth: 5 }), /Unauthorized|Connection failed|Connection handshake error/);
      stop();
      // Amplify closes the socket on which it was refused. A subscription that starts
      // while it is closing is sent to it, and lost with it.
      await eventually('no socket is closing', () => Socket.all.every(({ readyState }) => readyState !== WebSocket.CLOSING));
    });

    test(`${name} ${mode}: our library's adapter tells all it has to`, async (t) => {
      const { adapted } = await client();
      if (!adapted) return t.skip('no adapter');
      const log = [];
      const stop = adapted.subscribe(
        ON_PRESENCE,
        { watch: { userIds: ['erin'] } },
        {
          ready: () => log.push('ready'),
          next: ({ onPresence }) => log.push(onPresence.title),
          lost: () => log.push('lost'),
          error: () => log.push('error'),
        },
      );
      await eventually('ready', () => log.includes('ready'));
      await eventually('news', async () => {
        await change('erin');
        return log.includes('erin');
      });
      const { statuses } = await adapted.request(STATUSES, { userIds: ['erin'] });
      assert.equal(statuses[0].title, 'erin');
      assert.deepEqual([...new Set(log)], ['ready', 'erin']);
      await server.stop('SIGKILL');
      await eventually('the loss', () => log.includes(restores ? 'lost' : 'error'), 60_000);
      await server.start();
      if (restores) await eventually('ready again', () => log.lastIndexOf('ready') > log.lastIndexOf('lost'), 90_000);
      stop();
      await assert.rejects(async () => (await broken()).adapted.request(STATUSES, { userIds: ['erin'] }));
    });

    test(`${name} ${mode}: reconnects after the server restarts`, async () => {
      const alice = await client();
      let watching = await watch(alice, 'dave');
      await server.stop('SIGKILL');
      await server.start();
      // It has new keys, so the old token is none any more.
      await alice.signIn?.();
      if (!restores) {
        await eventually('an error', () => watching.errors.length, 60_000);
        watching = await watch(alice, 'dave');
      }
      await eventually(
        'news after the restart',
        async () => {
          await change('dave');
          return watching.seen.length;
        },
        90_000,
      );
      watching.stop();
    });
  }
}
