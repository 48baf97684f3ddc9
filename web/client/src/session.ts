const key = 'presence-session';

export interface Session {
  id: string;
  /** The page before in this tab had it. */
  continued: boolean;
}

/**
 * takeSession returns the tab's session and takes it out of the tab's
 * storage, where {@link keepSession} puts it when the page is left. So the next
 * page of the tab goes on with it, but a duplicate of the tab, which starts with
 * a copy of the storage, finds none and makes its own.
 */
export function takeSession(): Session {
  try {
    const id = sessionStorage.getItem(key);
    sessionStorage.removeItem(key);
    if (id) return { id, continued: true };
  } catch {
    // No storage: every page is a session of its own.
  }
  const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
  return { id, continued: false };
}

/** keepSession hands the id to the next page of the tab. */
export function keepSession(id: string) {
  try {
    sessionStorage.setItem(key, id);
  } catch {
    // As above.
  }
}
