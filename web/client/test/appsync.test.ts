import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createAppSyncClient, realtimeURL, type AppSyncClient, type WireEvent } from '../src/appsync.ts';

class FakeSocket {
  static all: FakeSocket[] = [];
  static get last() {
    return FakeSocket.all.at(-1)!;
  }
  onopen?: () => void;
  onclose?: () => void;
  onmessage?: (event: { data: string }) => void;
  sent: any[] = [];
  closed = false;
  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    FakeSocket.all.push(this);
  }
  send(data: string) {
    this.sent.push(JSON.parse(data));
  }
  close() {
    this.closed = true;
    queueMicrotask(() => this.onclose?.());
  }
  say(frame: object) {
    this.onmessage!({ data: JSON.stringify(frame) });
  }
  /** Goes through the handshake. */
  async accept() {
    this.onopen!();
    this.say({ type: 'connection_ack', payload: { connectionTimeoutMs: 300_000 } });
    await settle();
  }
  starts() {
    return this.sent.filter((frame) => frame.type === 'start');
  }
}

const settle = () => vi.advanceTimersByTimeAsync(0);

let client: AppSyncClient;
let wire: WireEvent[];
let tokens: string[];

// A client listens to its window for as long as it has subscriptions.
const ends: (() => void)[] = [];
const subscribe = (userId: string, to: ReturnType<typeof observer>) => {
  const end = client.subscribe(query, { userId }, to);
  ends.push(end);
  return end;
};

function observer() {
  const log: unknown[] = [];
  return {
    log,
    ready: () => log.push('ready'),
    next: (data: unknown) => log.push(data),
    lost: () => log.push('lost'),
    error: (cause: unknown) => log.push(cause),
  };
}

const query = 'subscription OnStatus($userId: ID!) { onStatus(userId: $userId) { userId } }';

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all = [];
  wire = [];
  tokens = ['token-1', 'token-2', 'token-3', 'token-4'];
  client = createAppSyncClient({
    endpoint: 'http://localhost:4000/graphql',
    token: () => (tokens.length > 1 ? tokens.shift()! : tokens[0]!),
    onWire: (event) => wire.push(event),
    WebSocket: FakeSocket as never,
  });
});

afterEach(() => {
  for (const end of ends.splice(0)) end();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test.each([
  [
    'https://abcdefghijklmnopqrstuvwxyz.appsync-api.eu-west-1.amazonaws.com/graphql',
    'wss://abcdefghijklmnopqrstuvwxyz.appsync-realtime-api.eu-west-1.amazonaws.com/graphql',
  ],
  [
    'https://abcdefghijklmnopqrstuvwxyz.appsync-api.cn-north-1.amazonaws.com.cn/graphql',
    'wss://abcdefghijklmnopqrstuvwxyz.appsync-realtime-api.cn-north-1.amazonaws.com.cn/graphql',
  ],
  ['https://api.example.com/graphql', 'wss://api.example.com/graphql/realtime'],
  ['http://localhost:4000/graphql', 'ws://localhost:4000/graphql/realtime'],
])('the real-time endpoint of %s', (endpoint, want) => {
  expect(realtimeURL(endpoint)).toBe(want);
});

describe('over HTTP', () => {
  const answer = (body: object, status = 200) =>
    vi.stubGlobal(
      'fetch',
      vi.fn(async () => new Response(JSON.stringify(body), { status })),
    );

  // The client takes fetch when it is made.
  const make = () =>
    createAppSyncClient({ endpoint: 'http://localhost:4000/graphql', token: async () => 'jwt', onWire: (event) => wire.push(event) });

  test('a request carries the token and resolves to the data', async () => {
    answer({ data: { status: null } });
    await expect(make().request('query Status { status(userId: "a") { userId } }', { a: 1 })).resolves.toEqual({ status: null });
    expect(fetch).toHaveBeenCalledWith(
      'http://localhost:4000/graphql',
      expect.objectContaining({ method: 'POST', headers: expect.objectContaining({ authorization: 'jwt' }) }),
    );
    expect(wire).toMatchObject([
      { over: 'http', direction: 'out', name: 'Status', message: { a: 1 } },
      { over: 'http', direction: 'in', name: 'Status', message: { data: { status: null } }, ms: expect.any(Number) },
    ]);
  });

  test('errors are thrown with what they say', async () => {
    answer({ errors: [{ errorType: 'UnauthorizedException', message: 'You are not authorized to make this call.' }] }, 401);
    await expect(make().request('query { a }', {})).rejects.toThrow('You are not authorized to make this call.');
    await expect(make().execute('query { a }')).resolves.toMatchObject({ errors: [{ errorType: 'UnauthorizedException' }] });
  });
});

describe('over a socket', () => {
  test('the handshake and each subscription carry a token of the moment', async () => {
    const one = observer();
    subscribe('bob', one);
    await settle();
    const socket = FakeSocket.last;
    expect(socket.url).toBe('ws://localhost:4000/graphql/realtime');
    expect(socket.protocols[0]).toBe('graphql-ws');
    const header = JSON.parse(atob(socket.protocols[1]!.replace('header-', '').replaceAll('-', '+').replaceAll('_', '/')));
    expect(header).toEqual({ Authorization: 'token-1', host: 'localhost:4000' });
    expect(socket.protocols[1]).not.toMatch(/[=+/]/);
    await socket.accept();
    expect(socket.sent).toEqual([
      { type: 'connection_init' },
      {
        type: 'start',
        id: '1',
        payload: {
          data: JSON.stringify({ query, variables: { userId: 'bob' } }),
          extensions: { authorization: { Authorization: 'token-2', host: 'localhost:4000' } },
        },
      },
    ]);
    socket.say({ type: 'start_ack', id: '1' });
    socket.say({ type: 'data', id: '1', payload: { data: { onStatus: { userId: 'bob' } } } });
    socket.say({ type: 'data', id: 'other', payload: { data: { onStatus: { userId: 'eve' } } } });
    expect(one.log).toEqual(['ready', { onStatus: { userId: 'bob' } }]);
  });

  test('subscriptions share it, and the last one closes it', async () => {
    const [first, second] = [subscribe('a', observer()), subscribe('b', observer())];
    await settle();
    await FakeSocket.last.accept();
    subscribe('c', observer())();
    expect(FakeSocket.last.starts()).toHaveLength(2);
    first();
    await settle();
    expect(FakeSocket.last.sent.at(-1)).toEqual({ type: 'stop', id: '1' });
    expect(FakeSocket.last.closed).toBe(false);
    second();
    subscribe('d', observer())();
    await settle();
    expect(FakeSocket.last.closed).toBe(true);
    await vi.advanceTimersByTimeAsync(600_000);
    expect(FakeSocket.all).toHaveLength(1);
  });

  test('another subscription in the same turn keeps it open', async () => {
    const end = subscribe('a', observer());
    await settle();
    await FakeSocket.last.accept();
    end();
    subscribe('b', observer());
    await settle();
    expect(FakeSocket.all).toHaveLength(1);
    expect(FakeSocket.last.closed).toBe(false);
    expect(FakeSocket.last.starts()).toHaveLength(2);
  });

  test('that closes is opened again, more and more slowly, with everything on it', async () => {
    const one = observer();
    subscribe('bob', one);
    await settle();
    await FakeSocket.last.accept();
    FakeSocket.last.say({ type: 'start_ack', id: '1' });
    const waits: number[] = [];
    for (let i = 1; i <= 8; i++) {
      const closed = Date.now();
      FakeSocket.last.onclose!();
      while (FakeSocket.all.length === i) await vi.advanceTimersByTimeAsync(50);
      waits.push(Date.now() - closed);
    }
    expect(waits[0]).toBeLessThanOrEqual(550);
    expect(waits[7]).toBeGreaterThan(10_000);
    expect(waits[7]).toBeLessThanOrEqual(30_050);
    await FakeSocket.last.accept();
    FakeSocket.last.say({ type: 'start_ack', id: '1' });
    expect(one.log.filter((entry) => entry === 'lost')).toHaveLength(8);
    expect(one.log.at(-1)).toBe('ready');
  });

  test('that is silent is given up well before AppSync’s five minutes, and one with keep-alives is not', async () => {
    const one = observer();
    subscribe('bob', one);
    await settle();
    await FakeSocket.last.accept();
    FakeSocket.last.say({ type: 'start_ack', id: '1' });
    for (let i = 0; i < 10; i++) {
      await vi.advanceTimersByTimeAsync(60_000);
      FakeSocket.last.say({ type: 'ka' });
    }
    expect(one.log).toEqual(['ready']);
    await vi.advanceTimersByTimeAsync(140_000);
    expect(one.log).toEqual(['ready', 'lost']);
    expect(FakeSocket.all).toHaveLength(2);
    expect(FakeSocket.all[0]!.closed).toBe(true);
  });

  test('that is never accepted is given up after 15 s', async () => {
    const one = observer();
    subscribe('bob', one);
    await settle();
    FakeSocket.last.onopen!();
    await vi.advanceTimersByTimeAsync(16_000);
    expect(one.log).toEqual(['lost']);
    expect(FakeSocket.all).toHaveLength(2);
  });

  test('on which a subscription is not answered is given up after 15 s', async () => {
    const one = observer();
    subscribe('bob', one);
    await settle();
    await FakeSocket.last.accept();
    await vi.advanceTimersByTimeAsync(16_000);
    expect(one.log).toEqual(['lost']);
  });

  test('is opened anew when the network changes', async () => {
    const one = observer();
    subscribe('bob', one);
    await settle();
    await FakeSocket.last.accept();
    window.dispatchEvent(new Event('online'));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(FakeSocket.all).toHaveLength(2);
    expect(FakeSocket.all[0]!.closed).toBe(true);
  });

  test('that refuses the token ends the subscriptions with its reason', async () => {
    const one = observer();
    subscribe('bob', one);
    await settle();
    FakeSocket.last.onopen!();
    FakeSocket.last.say({ type: 'connection_error', payload: { errors: [{ errorType: 'UnauthorizedException', errorCode: 401 }] } });
    expect(String(one.log[0])).toContain('UnauthorizedException');
    await vi.advanceTimersByTimeAsync(600_000);
    expect(FakeSocket.all).toHaveLength(1);
  });

  test('ends one subscription that is refused, and only that', async () => {
    const [one, two] = [observer(), observer()];
    subscribe('a', one);
    subscribe('b', two);
    await settle();
    await FakeSocket.last.accept();
    FakeSocket.last.say({
      type: 'error',
      id: '1',
      payload: { errors: [{ errorType: 'MaxSubscriptionsReachedError', message: 'Max number of 200 subscriptions reached' }] },
    });
    FakeSocket.last.say({ type: 'start_ack', id: '2' });
    expect(String(one.log[0])).toContain('Max number');
    expect(two.log).toEqual(['ready']);
    expect(FakeSocket.last.closed).toBe(false);
  });

  test('is not opened without a token', async () => {
    const one = observer();
    const broken = createAppSyncClient({
      endpoint: 'http://localhost:4000/graphql',
      token: () => Promise.reject(new Error('signed out')),
      WebSocket: FakeSocket as never,
    });
    broken.subscribe(query, { userId: 'bob' }, one);
    await settle();
    expect(String(one.log[0])).toContain('signed out');
    expect(FakeSocket.all).toHaveLength(0);
  });
});
