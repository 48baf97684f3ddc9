import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createPresence, type Presence, type PresenceOptions } from '../src/index.ts';
import { FakeClient, interval, online, timeout } from './fake.ts';

let client: FakeClient;
let presence: Presence | undefined;
let errors: unknown[];
let sent: { url: string; init: RequestInit }[];

function start(options: Partial<PresenceOptions> = {}) {
  presence = createPresence({
    client,
    endpoint: 'https://api.example/graphql',
    token: () => 'jwt',
    onError: (cause) => errors.push(cause),
    ...options,
  });
  return presence;
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const transition = (type: string, persisted = true) => window.dispatchEvent(Object.assign(new Event(type), { persisted }));

function setHidden(hidden: boolean) {
  Object.defineProperty(document, 'hidden', { configurable: true, value: hidden });
  document.dispatchEvent(new Event('visibilitychange'));
}

beforeEach(() => {
  vi.useFakeTimers({ now: Date.parse('2026-01-01T00:00:00Z') });
  client = new FakeClient();
  errors = [];
  sent = [];
  vi.stubGlobal('fetch', async (url: string, init: RequestInit) => {
    sent.push({ url, init });
    return new Response('{}');
  });
  sessionStorage.clear();
  history.replaceState(null, '', '/start');
  document.title = 'Start';
});

afterEach(async () => {
  client.onRequest = () => undefined;
  const left = presence?.leave();
  await pass(20_000);
  await left;
  presence = undefined;
  setHidden(false);
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe('connect', () => {
  test('on start, with the page and a session', async () => {
    start();
    await pass(0);
    expect(client.calls).toMatchObject([{ field: 'connect', variables: { url: 'https://app.example/start', title: 'Start' } }]);
    expect(client.calls[0]!.variables.sessionId).toMatch(/^[0-9a-f]{32}$/);
  });

  test('selects every field that subscribers need', async () => {
    const documents: string[] = [];
    client.request = new Proxy(client.request, {
      apply(target, self, [document, variables]) {
        documents.push(document);
        return Reflect.apply(target, self, [document, variables]);
      },
    });
    await start().leave();
    expect(documents).toHaveLength(2);
    for (const document of documents) {
      for (const field of ['userId', 'status', 'url', 'title', 'lastSeen', 'asOf', 'expiresAt', 'heartbeatIntervalMs']) {
        expect(document).toMatch(new RegExp(`\\b${field}\\b`));
      }
    }
  });

  for (const [name, navigate] of Object.entries({
    pushState: () => history.pushState(null, '', '/next'),
    replaceState: () => history.replaceState(null, '', '/next'),
  })) {
    test(`when ${name} changes the URL, with the title that follows`, async () => {
      start();
      await pass(1_000);
      navigate();
      await pass(50);
      document.title = 'Next';
      await pass(1_000);
      expect(client.calls.slice(1)).toMatchObject([{ field: 'connect', variables: { url: 'https://app.example/next', title: 'Next' } }]);
    });
  }

  test('on popstate', async () => {
    start();
    await pass(1_000);
    history.pushState(null, '', '/next');
    await pass(1_000);
    const popped = new Promise((resolve) => addEventListener('popstate', resolve, { once: true }));
    history.back();
    await pass(100);
    await popped;
    await pass(1_000);
    expect(client.named('connect').map((call) => call.variables.url)).toEqual([
      'https://app.example/start',
      'https://app.example/next',
      'https://app.example/start',
    ]);
  });

  test('once for a chain of redirects', async () => {
    start();
    await pass(1_000);
    for (const path of ['/a', '/b', '/c']) history.replaceState(null, '', path);
    await pass(1_000);
    expect(client.named('connect').map((call) => call.variables.url)).toEqual(['https://app.example/start', 'https://app.example/c']);
  });

  test('not for a new fragment', async () => {
    start();
    await pass(1_000);
    history.pushState(null, '', '/start#below');
    await pass(1_000);
    expect(client.fields()).toEqual(['connect']);
  });

  test('again for a page that was opened while an answer was due', async () => {
    let answer!: (value: unknown) => void;
    client.onRequest = () => new Promise((resolve) => (answer = resolve));
    start();
    await pass(100);
    history.pushState(null, '', '/next');
    await pass(1_000);
    expect(client.fields()).toEqual(['connect']);
    client.onRequest = () => undefined;
    answer({ connect: online('me') });
    await pass(1_000);
    expect(client.calls.slice(1)).toMatchObject([{ field: 'connect', variables: { url: 'https://app.example/next' } }]);
  });

  test('not before a prerendered page is opened', async () => {
    Object.defineProperty(document, 'prerendering', { configurable: true, value: true });
    try {
      start();
      await pass(60_000);
      expect(client.calls).toEqual([]);
      document.dispatchEvent(new Event('prerenderingchange'));
      await pass(0);
      expect(client.fields()).toEqual(['connect']);
    } finally {
      Reflect.deleteProperty(document, 'prerendering');
    }
  });
});

describe('the page shown', () => {
  test.each<[string, { url: string; title: string } | null, { url: string; title: string }]>([
    ['null', null, { url: '', title: '' }],
    ['no http', { url: 'javascript:alert(1)', title: 'x' }, { url: '', title: '' }],
    ['no URL', { url: 'nowhere', title: 'x' }, { url: '', title: '' }],
    ['too long', { url: `https://a.example/${'x'.repeat(2_048)}`, title: 'x' }, { url: '', title: '' }],
    ['secrets', { url: 'https://me:secret@a.example/p?q=1#top', title: 'x' }, { url: 'https://a.example/p?q=1', title: 'x' }],
    ['control characters', { url: 'https://a.example/', title: ' a\u0000\n\u009fb ' }, { url: 'https://a.example/', title: 'a b' }],
    ['a long title', { url: 'https://a.example/', title: 'x'.repeat(2_000) }, { url: 'https://a.example/', title: 'x'.repeat(1_024) }],
    [
      'a title cut in a character',
      { url: 'https://a.example/', title: `${'x'.repeat(1_023)}é` },
      { url: 'https://a.example/', title: 'x'.repeat(1_023) },
    ],
  ])('%s', async (_name, page, want) => {
    start({ page: () => page });
    await pass(0);
    expect(client.calls[0]!.variables).toMatchObject(want);
  });
});

describe('heartbeat', () => {
  test('keeps the interval of the server, never later and at most a tenth early', async () => {
    start();
    await pass(10 * interval);
    const beats = client.named('heartbeat');
    expect(beats.length).toBeGreaterThanOrEqual(10);
    const times = client.calls.map((call) => call.at);
    for (let i = 1; i < times.length; i++) {
      expect(times[i]! - times[i - 1]!).toBeGreaterThanOrEqual(0.9 * interval - 1);
      expect(times[i]! - times[i - 1]!).toBeLessThanOrEqual(interval + 1);
    }
  });

  test('follows a server that changes its interval', async () => {
    client.onRequest = () => ({ connect: { ...online('me'), heartbeatIntervalMs: 5_000 }, heartbeat: undefined });
    start();
    await pass(0);
    client.onRequest = () => undefined;
    await pass(5_000);
    expect(client.fields()).toEqual(['connect', 'heartbeat']);
  });

  test('brings a new title, but not more often than every five seconds', async () => {
    start();
    await pass(10_000);
    for (let i = 1; i <= 20; i++) {
      document.title = `(${i}) Start`;
      await pass(500);
    }
    await pass(5_000);
    expect(client.fields()).toEqual(['connect', 'heartbeat', 'heartbeat', 'heartbeat']);
    expect(client.calls.at(-1)!.variables.title).toBe('(20) Start');
  });

  test('is tried again, more and more slowly, several times within the timeout', async () => {
    start();
    await pass(0);
    client.onRequest = () => Promise.reject(new Error('down'));
    await pass(timeout);
    const tries = client.named('heartbeat').map((call) => call.at);
    expect(tries.length).toBeGreaterThanOrEqual(4);
    expect(errors).toHaveLength(tries.length);
    await pass(20 * interval);
    expect(client.named('heartbeat').length).toBeLessThan(tries.length + 42);
    client.onRequest = () => undefined;
    await pass(interval);
    const before = client.calls.length;
    await pass(interval);
    expect(client.calls.length - before).toBeLessThanOrEqual(2);
  });

  test('is tried again when no answer comes', async () => {
    start();
    await pass(0);
    client.onRequest = () => new Promise(() => {});
    await pass(interval + 25_000);
    expect(client.named('heartbeat').length).toBeGreaterThanOrEqual(2);
    expect(String(errors[0])).toContain('No answer within 10 s');
  });

  test('stays a connect until the server has taken one', async () => {
    client.onRequest = () => Promise.reject(new Error('down'));
    start();
    await pass(10_000);
    const failed = client.calls.length;
    client.onRequest = () => undefined;
    await pass(2 * interval);
    expect(new Set(client.fields().slice(0, failed + 1))).toEqual(new Set(['connect']));
    expect(new Set(client.fields().slice(failed + 1))).toEqual(new Set(['heartbeat']));
  });

  test('comes at once when the network is back, even if an answer is due', async () => {
    start();
    await pass(5_000);
    window.dispatchEvent(new Event('online'));
    await pass(0);
    expect(client.fields()).toEqual(['connect', 'heartbeat']);
    client.onRequest = () => new Promise(() => {});
    window.dispatchEvent(new Event('online'));
    window.dispatchEvent(new Event('online'));
    await pass(0);
    expect(client.fields()).toEqual(['connect', 'heartbeat', 'heartbeat', 'heartbeat']);
  });

  test('comes soon after the machine has slept, though no timer has run', async () => {
    start();
    await pass(1_000);
    vi.setSystemTime(Date.now() + 3_600_000);
    await pass(5_000);
    expect(client.fields()).toEqual(['connect', 'heartbeat']);
  });

  test('comes at once when the page is looked at again after sleep', async () => {
    start();
    await pass(1_000);
    vi.setSystemTime(Date.now() + 3_600_000);
    setHidden(false);
    await pass(0);
    expect(client.fields()).toEqual(['connect', 'heartbeat']);
  });

  test('does not come early because the page is looked at', async () => {
    start();
    await pass(1_000);
    window.dispatchEvent(new Event('focus'));
    setHidden(true);
    setHidden(false);
    await pass(1_000);
    expect(client.fields()).toEqual(['connect']);
  });
});

describe('leaving', () => {
  test('a page that is hidden for good asks for a disconnect with grace that outlives it', async () => {
    start();
    await pass(0);
    transition('pagehide', false);
    expect(sent).toMatchObject([
      { url: 'https://api.example/graphql', init: { method: 'POST', keepalive: true, headers: { authorization: 'jwt' } } },
    ]);
    const { query, variables } = JSON.parse(sent[0]!.init.body as string);
    expect(query).toContain('disconnect(sessionId: $sessionId, graceMs: $graceMs)');
    expect(variables).toEqual({ sessionId: client.calls[0]!.variables.sessionId, graceMs: 5_000 });
    await pass(10 * interval);
    expect(client.fields()).toEqual(['connect']);
  });

  test('grace is never longer than the timeout', async () => {
    client.onRequest = () => ({ connect: { ...online('me'), expiresAt: new Date(Date.now() + 2_500).toISOString() } });
    start();
    await pass(0);
    transition('pagehide');
    expect(JSON.parse(sent[0]!.init.body as string).variables.graceMs).toBe(2_500);
  });

  test('who never came needs no leave', async () => {
    client.onRequest = () => Promise.reject(new Error('down'));
    start();
    await pass(0);
    transition('pagehide');
    expect(sent).toEqual([]);
  });

  test('a page back from the back-forward cache connects again as the same session', async () => {
    start();
    await pass(0);
    transition('pagehide');
    await pass(60_000);
    transition('pageshow');
    await pass(0);
    expect(client.fields()).toEqual(['connect', 'connect']);
    expect(client.calls[1]!.variables.sessionId).toBe(client.calls[0]!.variables.sessionId);
    await pass(10_000);
    expect(client.fields()).toEqual(['connect', 'connect', 'heartbeat']);
  });

  test('leave ends the session at once, and everything with it', async () => {
    const pushState = history.pushState;
    start();
    await pass(0);
    expect(history.pushState).not.toBe(pushState);
    await presence!.leave();
    expect(client.calls.at(-1)).toMatchObject({ field: 'disconnect', variables: { sessionId: client.calls[0]!.variables.sessionId } });
    expect(client.calls.at(-1)!.variables.graceMs).toBeUndefined();
    expect(history.pushState).toBe(pushState);
    window.dispatchEvent(new Event('online'));
    transition('pagehide');
    history.pushState(null, '', '/next');
    await pass(10 * interval);
    expect(client.fields()).toEqual(['connect', 'disconnect']);
    expect(sent).toEqual([]);
    presence = undefined;
  });

  test('leave comes after a connect that is on its way', async () => {
    let answer!: (value: unknown) => void;
    client.onRequest = (call) => (call.field === 'connect' ? new Promise((resolve) => (answer = resolve)) : undefined);
    start();
    await pass(0);
    const left = presence!.leave();
    await pass(0);
    expect(client.fields()).toEqual(['connect']);
    answer({ connect: online('me') });
    await left;
    expect(client.fields()).toEqual(['connect', 'disconnect']);
    presence = undefined;
  });

  test('leave rejects if the server could not be told', async () => {
    start();
    await pass(0);
    client.onRequest = () => Promise.reject(new Error('down'));
    await expect(presence!.leave()).rejects.toThrow('down');
    presence = undefined;
  });
});

describe('session', () => {
  const connected = async () => {
    start();
    await pass(0);
    return client.calls.at(-1)!.variables.sessionId as string;
  };

  test('goes on with the next page of the tab', async () => {
    const first = await connected();
    transition('pagehide', false);
    client = new FakeClient();
    expect(await connected()).toBe(first);
  });

  test('that goes on beats again within the grace, for the leave of the page before may come after its connect', async () => {
    await connected();
    transition('pagehide', false);
    client = new FakeClient();
    await connected();
    await pass(4_000);
    expect(client.fields()).toEqual(['connect', 'heartbeat']);
    await pass(20_000);
    expect(client.fields()).toEqual(['connect', 'heartbeat']);
  });

  test('is not shared by a duplicate of the tab, which starts with a copy of its storage', async () => {
    const first = await connected();
    expect(Object.values({ ...sessionStorage })).not.toContain(first);
    client = new FakeClient();
    expect(await connected()).not.toBe(first);
  });

  test('is one a page where there is no storage', async () => {
    vi.stubGlobal('sessionStorage', {
      getItem() {
        throw new DOMException('denied', 'SecurityError');
      },
      setItem() {
        throw new DOMException('denied', 'SecurityError');
      },
    });
    expect(await connected()).toMatch(/^[0-9a-f]{32}$/);
    expect(() => transition('pagehide')).not.toThrow();
  });
});
