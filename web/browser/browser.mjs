import { chromium } from 'playwright-core';

export const options = {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
  // Playwright turns the back-forward cache off.
  ignoreDefaultArgs: ['--disable-back-forward-cache'],
};

export const launch = () => chromium.launch(options);

/** Person is somebody in front of the live page, in a browser context of their own. */
export class Person {
  /** What the page did that it should not have: errors, and requests to other hosts. */
  faults = [];
  /** Every call the page made over HTTP. */
  calls = [];

  constructor(context, page, name, url) {
    Object.assign(this, { context, page, name, url });
    page.on('pageerror', (error) => this.faults.push(error.message));
    page.on('console', (message) => message.type() === 'error' && this.faults.push(message.text()));
    page.on('request', (request) => {
      if (!request.url().startsWith(url) && !request.url().startsWith('blob:')) this.faults.push(`request to ${request.url()}`);
      if (request.method() !== 'POST') return;
      const { query, variables } = JSON.parse(request.postData());
      this.calls.push({ field: /\{ (\w+)/.exec(query)[1], variables });
    });
  }

  static async come(browser, name, url, path = '/demo') {
    const context = await browser.newContext();
    return Person.tab(context, name, url, path);
  }

  static async tab(context, name, url, path = '/demo') {
    const person = new Person(context, await context.newPage(), name, url);
    await person.page.goto(`${url}${path}#${name}`);
    await person.page.waitForSelector('#signed-in:not([hidden])');
    return person;
  }

  entry(user) {
    return this.page.locator(`#people li[data-user="${user}"]`);
  }

  /** Waits until this person sees user so. */
  async sees(user, status, title) {
    const entry = this.page.locator(`#people li[data-user="${user}"][data-status="${status}"]`, title ? { hasText: title } : {});
    await entry.waitFor({ timeout: 15_000 });
  }

  /** Notes each status of user that this person's page shows from now on. */
  async note(user) {
    await this.page.evaluate((user) => {
      const item = document.querySelector(`#people li[data-user="${user}"]`);
      window.noted = [item.dataset.status];
      new MutationObserver(() => window.noted.at(-1) !== item.dataset.status && window.noted.push(item.dataset.status)).observe(item, {
        attributes: true,
      });
    }, user);
  }

  noted() {
    return this.page.evaluate(() => window.noted);
  }

  beats() {
    return this.calls.filter((call) => call.field === 'heartbeat').length;
  }
}
