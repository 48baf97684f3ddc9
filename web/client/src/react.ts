import { createContext, createElement, useContext, useEffect, useState, type ReactNode } from 'react';
import type { People, Presence } from './index.ts';

const Context = createContext<Presence | null>(null);

/** Hands the presence that {@link usePresence} watches with to the components below. Null while nobody is signed in. */
export function PresenceProvider({ presence, children }: { presence: Presence | null; children?: ReactNode }) {
  return createElement(Context.Provider, { value: presence }, children);
}

const nobody: People = new Map();

/** Watches people for as long as the component is there. Who is not known yet is not in the map. */
export function usePresence(userIds: readonly string[]): People {
  const presence = useContext(Context);
  const [people, setPeople] = useState(nobody);
  // A new array of the same people is no reason to subscribe anew.
  const key = JSON.stringify(userIds);
  useEffect(() => {
    const userIds = JSON.parse(key) as string[];
    // Who stays in the list stays on the screen.
    setPeople((people) => (presence ? new Map([...people].filter(([userId]) => userIds.includes(userId))) : nobody));
    return presence?.watch(userIds, setPeople);
  }, [presence, key]);
  return people;
}
