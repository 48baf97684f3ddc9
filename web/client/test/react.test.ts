import { act, createElement } from 'react';
import { createRoot } from 'react-dom/client';
import { afterEach, expect, test, vi } from 'vitest';
import type { People, Presence } from '../src/index.ts';
import { PresenceProvider, usePresence } from '../src/react.ts';
import { offline, online } from './fake.ts';

vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);

const root = createRoot(document.createElement('div'));
afterEach(() => act(() => root.render(null)));

let shown: People;
let renders = 0;
function Who({ userIds }: { userIds: string[] }) {
  shown = usePresence(userIds);
  renders++;
  return null;
}

class FakePresence implements Presence {
  watches: { userIds: readonly string[]; onChange: (people: People) => void }[] = [];
  watch(userIds: readonly string[], onChange: (people: People) => void) {
    const watch = { userIds, onChange };
    this.watches.push(watch);
    return () => {
      this.watches = this.watches.filter((other) => other !== watch);
    };
  }
  async leave() {}
}

const render = (presence: Presence | null, ...userIds: string[]) =>
  act(() => root.render(createElement(PresenceProvider, { presence }, createElement(Who, { userIds }))));

test('usePresence watches while it is there', () => {
  const presence = new FakePresence();
  render(presence, 'bob');
  expect([...shown]).toEqual([]);
  expect(presence.watches).toMatchObject([{ userIds: ['bob'] }]);
  act(() => presence.watches[0]!.onChange(new Map([['bob', { ...online('bob'), stale: false }]])));
  expect(shown.get('bob')!.status).toBe('online');
  act(() => presence.watches[0]!.onChange(new Map([['bob', { ...offline('bob'), stale: false }]])));
  expect(shown.get('bob')!.status).toBe('offline');
  act(() => root.render(null));
  expect(presence.watches).toEqual([]);
});

test('the same people in a new array are no new watch, other people are', () => {
  const presence = new FakePresence();
  render(presence, 'bob');
  const [first] = presence.watches;
  render(presence, 'bob');
  expect(presence.watches).toEqual([first]);
  act(() => first!.onChange(new Map([['bob', { ...online('bob'), stale: false }]])));
  render(presence, 'carol');
  expect(presence.watches).toMatchObject([{ userIds: ['carol'] }]);
  expect([...shown]).toEqual([]);
});

test('nobody is watched while nobody is signed in', () => {
  renders = 0;
  render(null, 'bob');
  expect([...shown]).toEqual([]);
  expect(renders).toBe(1);
});

test('who is in the next list too is not blank for a moment', () => {
  const presence = new FakePresence();
  render(presence, 'bob', 'carol');
  const people = ['bob', 'carol'].map((userId) => [userId, { ...online(userId), stale: false }] as const);
  act(() => presence.watches[0]!.onChange(new Map(people)));
  render(presence, 'bob', 'dave');
  expect([...shown.keys()]).toEqual(['bob']);
  render(null, 'bob', 'dave');
  expect([...shown]).toEqual([]);
});
