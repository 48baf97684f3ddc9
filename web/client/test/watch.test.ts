import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createPresence, type People, type Presence } from '../src/index.ts';
import { FakeClient, offline, online, timeout } from './fake.ts';

let client: FakeClient;
let presence: Presence;
let errors: unknown[];
let seen: People[];

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const transition = (type: string) => window.dispatchEvent(Object.assign(new Event(type), { persisted: true }));
const last = () => seen.at(-1)!;
const watch = (...userIds: string[]) => presence.watch(userIds, (people) => seen.push(people));
const questions = () => client.named('statuses').map((call) => call.variables.userIds as string[]);

function setHidden(hidden: boolean) {
  Object.defineProperty(document, 'hidden', { configurable: true, value: hidden });
  document.dispatchEvent(new Event('visibilitychange'));
}

beforeEach(async () => {
  vi.useFakeTimers({ now: Date.parse('2026-01-01T00:00:00Z') });
  vi.stubGlobal('fetch', async () => new Response('{}'));
  client = new FakeClient();
  errors = [];
  seen = [];
  presence = createPresence({
    client,
    endpoint: 'https://api.example/graphql',
    token: () => 'jwt',
    onError: (cause) => errors.push(cause),
  });
  await pass(0);
});

afterEach(async () => {
  client.onRequest = () => undefined;
  await presence.leave();
  setHidden(false);
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe('watch', () => {
  test('subscribes, and asks once all is accepted', async () => {
    client.autoReady = false;
    watch('bob', 'carol');
    await pass(1_000);
    expect(client.subscriptions.map((s) => s.userIds)).toEqual([['bob', 'carol']]);
    expect(questions()).toEqual([]);
    client.to('bob').ready();
    await pass(1_000);
    expect(questions()).toEqual([['bob', 'carol']]);
    expect([...last().keys()]).toEqual(['bob', 'carol']);
    expect(last().get('bob')).toMatchObject({ status: 'online', stale: false });
  });

  test('asks anyway when no subscription is accepted, and calls the answer stale', async () => {
    client.autoReady = false;
    watch('bob');
    await pass(4_000);
    expect(questions()).toEqual([['bob']]);
    expect(last().get('bob')).toMatchObject({ status: 'online', stale: true });
    // As long as nothing tells of changes it asks, once a minute.
    await pass(10 * 60_000);
    expect(questions().length).toBeGreaterThanOrEqual(8);
    expect(questions().length).toBeLessThanOrEqual(12);
  });

  test('asks for at most a hundred at a time', async () => {
    watch(...users(250));
    await pass(1_000);
    expect(questions().map((userIds) => userIds.length)).toEqual([100, 100, 50]);
    expect(last().size).toBe(250);
  });

  test('shares a subscription, and ends it with the last watch', async () => {
    const first = watch('bob');
    const second = watch('bob', 'bob');
    await pass(1_000);
    expect(client.subscriptions).toHaveLength(1);
    first();
    await pass(0);
    expect(client.subscriptions[0]!.open).toBe(true);
    second();
    second();
    await pass(0);
    expect(client.subscriptions[0]!.open).toBe(false);
    await pass(10 * timeout);
    expect(questions()).toHaveLength(1);
  });

  test('shows a later watch at once what is known', async () => {
    watch('bob');
    await pass(1_000);
    const other: People[] = [];
    presence.watch(['bob'], (people) => other.push(people));
    await pass(0);
    expect(other.at(-1)!.get('bob')!.status).toBe('online');
  });

  test('tells of several changes of one turn once', async () => {
    watch('bob', 'carol');
    await pass(1_000);
    const before = seen.length;
    client.to('bob').next({ onPresence: offline('bob') });
    client.to('carol').next({ onPresence: offline('carol') });
    await pass(0);
    expect(seen).toHaveLength(before + 1);
    expect([...last().values()].map((p) => p.status)).toEqual(['offline', 'offline']);
  });

  test('says nothing after it is ended', async () => {
    const end = watch('bob');
    await pass(1_000);
    const before = seen.length;
    client.to('bob').next({ onPresence: offline('bob') });
    end();
    await pass(1_000);
    expect(seen).toHaveLength(before);
  });

  test('ends with leave', async () => {
    watch('bob');
    await pass(1_000);
    await presence.leave();
    expect(client.subscriptions.every((s) => !s.open)).toBe(true);
  });
});

const users = (n: number, prefix = 'user') => Array.from({ length: n }, (_, i) => `${prefix}-${i}`);

describe('one subscription', () => {
  test('serves all watches of a turn', async () => {
    watch('bob');
    watch('carol', 'bob');
    await pass(1_000);
    expect(client.subscriptions.map((s) => s.userIds)).toEqual([['bob', 'carol']]);
  });

  test('holds at most 200 users, and more users take more', async () => {
    watch(...users(450));
    await pass(1_000);
    expect(client.open().map((s) => s.userIds.length)).toEqual([200, 200, 50]);
    client.tell(offline('user-449'));
    await pass(0);
    expect(last().get('user-449')!.status).toBe('offline');
  });

  test('ends after the next is accepted, so that nobody is missed or blank', async () => {
    const end = watch('bob', 'carol');
    await pass(1_000);
    client.autoReady = false;
    watch('bob', 'dave');
    end();
    await pass(1_000);
    expect(client.open().map((s) => s.userIds)).toEqual([
      ['bob', 'carol'],
      ['bob', 'dave'],
    ]);
    expect(last().get('bob')).toMatchObject({ status: 'online', stale: false });
    client.subscriptions[0]!.next({ onPresence: offline('bob') });
    await pass(0);
    expect(last().get('bob')!.status).toBe('offline');
    client.subscriptions[1]!.ready();
    expect(client.open().map((s) => s.userIds)).toEqual([['bob', 'dave']]);
    await pass(1_000);
    // Bob was watched all the time, so only Dave is asked about.
    expect(questions()).toEqual([['bob', 'carol'], ['dave']]);
    expect(last().get('dave')).toMatchObject({ status: 'online', stale: false });
    expect(seen.every((people) => !people.has('bob') || !people.get('bob')!.stale)).toBe(true);
  });

  test('goes on when the next is refused', async () => {
    watch('bob');
    await pass(1_000);
    client.autoReady = false;
    watch('carol');
    await pass(0);
    client.to('carol').error(new Error('refused'));
    client.to('bob').next({ onPresence: offline('bob') });
    await pass(0);
    expect(
      seen
        .filter((people) => people.has('bob'))
        .at(-1)!
        .get('bob'),
    ).toMatchObject({ status: 'offline', stale: false });
    await pass(2_000);
    client.to('carol').ready();
    await pass(1_000);
    expect(client.open().map((s) => s.userIds)).toEqual([['bob', 'carol']]);
    expect(last().get('carol')).toMatchObject({ status: 'online', stale: false });
  });

  test('changes at most once at a time, however often its users do', async () => {
    watch('bob');
    await pass(1_000);
    client.autoReady = false;
    for (const user of users(10)) {
      watch(user);
      await pass(10);
    }
    expect(client.open()).toHaveLength(2);
    client.subscriptions[1]!.ready();
    expect(client.open().map((s) => s.userIds.length)).toEqual([2, 11]);
    client.subscriptions[2]!.ready();
    expect(client.open().map((s) => s.userIds.length)).toEqual([11]);
    expect(client.subscriptions).toHaveLength(3);
  });

  test('does not change where another has room', async () => {
    const end = watch(...users(200));
    await pass(1_000);
    watch('bob');
    await pass(1_000);
    expect(client.open().map((s) => s.userIds.length)).toEqual([200, 1]);
    end();
    await pass(1_000);
    expect(client.open().map((s) => s.userIds)).toEqual([['bob']]);
  });

  test('is not made anew where one list takes the place of an equal one', async () => {
    const end = watch('bob', 'carol');
    await pass(1_000);
    end();
    watch('carol', 'bob');
    await pass(1_000);
    expect(client.subscriptions).toHaveLength(1);
    expect(questions()).toHaveLength(1);
    expect([...last().keys()]).toEqual(['carol', 'bob']);
  });
});

test('no client is needed', async () => {
  const sent: { url: string; query: string; authorization: string }[] = [];
  vi.stubGlobal('fetch', async (url: string, { body, headers }: { body: string; headers: Record<string, string> }) => {
    sent.push({ url, query: JSON.parse(body).query, authorization: headers['authorization']! });
    return new Response(JSON.stringify({ data: { any: online('me') } }));
  });
  const alone = createPresence({ endpoint: 'https://api.example/graphql', token: () => 'jwt' });
  await pass(0);
  expect(sent).toMatchObject([{ url: 'https://api.example/graphql', authorization: 'jwt', query: expect.stringContaining('connect(') }]);
  await alone.leave();
  expect(sent.at(-1)!.query).toContain('disconnect(');
});

describe('the greatest asOf', () => {
  test('is kept, in whatever order they come', async () => {
    watch('bob');
    await pass(1_000);
    const now = Date.now();
    const bob = client.to('bob');
    bob.next({ onPresence: online('bob', { at: now + 30, title: 'third' }) });
    bob.next({ onPresence: offline('bob', now + 20) });
    bob.next({ onPresence: online('bob', { at: now + 10, title: 'first' }) });
    await pass(0);
    expect(last().get('bob')).toMatchObject({ status: 'online', title: 'third' });
  });

  test('holds against a late answer to a question', async () => {
    let answer!: (value: unknown) => void;
    client.onRequest = (call) => (call.field === 'statuses' ? new Promise((resolve) => (answer = resolve)) : undefined);
    watch('bob');
    await pass(1_000);
    const asked = online('bob');
    await pass(1_000);
    client.to('bob').next({ onPresence: offline('bob') });
    answer({ statuses: [asked] });
    await pass(0);
    expect(last().get('bob')!.status).toBe('offline');
  });

  test('comes from the own heartbeat too', async () => {
    watch('me');
    await pass(1_000);
    client.onRequest = (call) => (call.field === 'heartbeat' ? { heartbeat: online('me', { title: 'beaten' }) } : undefined);
    await pass(30_000);
    expect(last().get('me')!.title).toBe('beaten');
    await pass(10 * timeout);
    // So one never asks about oneself.
    expect(questions()).toHaveLength(1);
  });
});

describe('expired people', () => {
  test('are stale until the answer to one question for all of them', async () => {
    watch('bob', 'carol', 'dave');
    await pass(1_000);
    client.to('dave').next({ onPresence: offline('dave') });
    const hold: ((value: unknown) => void)[] = [];
    client.onRequest = (call) => (call.field === 'statuses' ? new Promise((resolve) => hold.push(resolve)) : undefined);
    await pass(timeout);
    expect([...last().values()].map((p) => p.stale)).toEqual([true, true, false]);
    await pass(11_000);
    expect(questions()).toEqual([
      ['bob', 'carol', 'dave'],
      ['bob', 'carol'],
    ]);
    hold[0]!({ statuses: [online('bob'), offline('carol')] });
    await pass(0);
    expect([...last().values()].map((p) => [p.status, p.stale])).toEqual([
      ['online', false],
      ['offline', false],
      ['offline', false],
    ]);
  });

  test('are asked about at most once a minute, whoever expires when', async () => {
    const everyone = users(20);
    everyone.forEach((user, i) => client.people.set(user, () => online(user, { at: Date.now() - ((i * 7_919) % 60_000) })));
    // asOf is when the server looked, and not the last heartbeat.
    client.onRequest = (call) =>
      call.field === 'statuses'
        ? { statuses: call.variables.userIds.map((id: string) => ({ ...client.people.get(id)!(), asOf: new Date().toISOString() })) }
        : undefined;
    watch(...everyone);
    await pass(30 * 60_000);
    const asked = client.named('statuses').map((call) => call.at);
    expect(asked.length).toBeGreaterThan(15);
    for (let i = 2; i < asked.length; i++) expect(asked[i]! - asked[i - 1]!).toBeGreaterThanOrEqual(60_000);
  });

  test('are asked about at different moments by different watchers of the same event', async () => {
    const moments = new Set<number>();
    for (const random of [0, 0.25, 0.5, 0.99]) {
      vi.spyOn(Math, 'random').mockReturnValue(random);
      const start = Date.now();
      const before = client.named('statuses').length;
      const end = watch(`bob-${random}`);
      await pass(timeout + 15_000);
      moments.add(Math.round((client.named('statuses')[before + 1]!.at - start) / 1_000));
      end();
      vi.restoreAllMocks();
    }
    expect(moments.size).toBe(4);
  });

  test('are not asked about while the page is hidden, and at once when it is shown', async () => {
    watch('bob');
    await pass(1_000);
    setHidden(true);
    await pass(30 * 60_000);
    expect(questions()).toHaveLength(1);
    expect(last().get('bob')!.stale).toBe(true);
    setHidden(false);
    await pass(500);
    expect(questions()).toHaveLength(2);
    expect(last().get('bob')!.stale).toBe(false);
  });

  test('do not depend on this machine’s clock', async () => {
    const ahead = 3 * 3_600_000;
    client.people.set('bob', () => online('bob', { at: Date.now() + ahead }));
    watch('bob');
    await pass(timeout - 5_000);
    expect(last().get('bob')!.stale).toBe(false);
    await pass(10_000);
    expect(seen.some((people) => people.get('bob')!.stale)).toBe(true);
  });

  test('are asked about again, more and more slowly, when there is no answer', async () => {
    watch('bob');
    await pass(1_000);
    client.onRequest = (call) => (call.field === 'statuses' ? Promise.reject(new Error('down')) : undefined);
    await pass(timeout + 10_000);
    const from = questions().length;
    await pass(30 * 60_000);
    expect(errors.length).toBeGreaterThan(5);
    expect(questions().length - from).toBeLessThan(75);
    client.onRequest = () => undefined;
    await pass(61_000);
    expect(last().get('bob')!.stale).toBe(false);
  });
});

describe('a lost connection', () => {
  test('makes people stale, and is followed by a question once it is back', async () => {
    watch('bob');
    await pass(1_000);
    client.to('bob').lost();
    await pass(0);
    expect(last().get('bob')).toMatchObject({ status: 'online', stale: true });
    client.people.set('bob', () => offline('bob'));
    client.to('bob').ready();
    expect(last().get('bob')!.stale).toBe(true);
    await pass(1_000);
    expect(questions()).toHaveLength(2);
    expect(last().get('bob')).toMatchObject({ status: 'offline', stale: false });
  });

  test('that ends the subscription is followed by another, more and more slowly', async () => {
    client.autoReady = false;
    watch('bob');
    await pass(0);
    for (let i = 0; i < 6; i++) {
      client.to('bob').error(new Error(`gone ${i}`));
      await pass(60_000);
    }
    expect(errors.filter((e) => String(e).includes('gone'))).toHaveLength(6);
    client.to('bob').ready();
    await pass(1_000);
    expect(last().get('bob')!.stale).toBe(false);
  });

  test('does not bring back a watch that has ended', async () => {
    const end = watch('bob');
    await pass(0);
    client.to('bob').error(new Error('gone'));
    end();
    await pass(10 * 60_000);
    expect(client.subscriptions).toHaveLength(1);
  });
});

describe('the back-forward cache', () => {
  test('takes a page without subscriptions, which come back with it', async () => {
    watch('bob');
    await pass(1_000);
    transition('pagehide');
    expect(client.subscriptions.every((s) => !s.open)).toBe(true);
    await pass(60_000);
    client.people.set('bob', () => offline('bob'));
    transition('pageshow');
    await pass(1_000);
    expect(client.subscriptions.filter((s) => s.open)).toHaveLength(1);
    expect(last().get('bob')).toMatchObject({ status: 'offline', stale: false });
  });
});
