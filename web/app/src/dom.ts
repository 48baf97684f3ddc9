/** The element with the id, which the page has. */
export function byID<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

/**
 * Makes an element. Children that are strings become text, never markup: much
 * of what is shown was written by others.
 */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
