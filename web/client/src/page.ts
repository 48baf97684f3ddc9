/** What others see of where the user is. An empty url: present, page not shown. */
export interface Page {
  url: string;
  title: string;
}

// The API's limits, in bytes of UTF-8.
const maxURL = 2_048;
const maxTitle = 1_024;

/** The page of the address bar. */
export const currentPage = (): Page => ({ url: location.href, title: document.title });

/**
 * shown returns what the API takes of a page, so that no address or title makes
 * it refuse the call: no fragment and no password, no page at all if it is not
 * http(s) or too long, and of a title as much as fits.
 */
export function shown({ url, title }: Page): Page {
  try {
    const parsed = new URL(url);
    parsed.hash = parsed.username = parsed.password = '';
    const encoder = new TextEncoder();
    if (/^https?:$/.test(parsed.protocol) && encoder.encode(parsed.href).length <= maxURL) {
      const clean = encoder.encode(title.replace(/\p{Cc}+/gu, ' ').trim());
      // Streaming leaves out a character that is cut in two.
      return { url: parsed.href, title: new TextDecoder().decode(clean.subarray(0, maxTitle), { stream: true }) };
    }
  } catch {
    // Not a URL.
  }
  return { url: '', title: '' };
}

/** onPageChange calls changed when the URL or the title may have changed, until the function it returns is called. */
export function onPageChange(changed: () => void): () => void {
  const patched = (['pushState', 'replaceState'] as const).map((name) => {
    const original = history[name];
    const patch: History['pushState'] = function (this: History, ...args) {
      original.apply(this, args);
      changed();
    };
    history[name] = patch;
    return () => {
      // Somebody may have patched it after us; then ours stays below theirs.
      if (history[name] === patch) history[name] = original;
    };
  });
  const titles = new MutationObserver(changed);
  titles.observe(document.head ?? document.documentElement, { subtree: true, childList: true, characterData: true });
  addEventListener('popstate', changed);
  return () => {
    for (const undo of patched) undo();
    titles.disconnect();
    removeEventListener('popstate', changed);
  };
}
