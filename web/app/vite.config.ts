import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: at('.'),
  resolve: { alias: { 'presence-client': at('../client/src/index.ts') } },
  worker: { format: 'es' },
  build: {
    outDir: at('../dist'),
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
    license: { fileName: 'licenses.md' },
    chunkSizeWarningLimit: 5_000,
    rolldownOptions: {
      input: { console: at('index.html'), demo: at('demo.html') },
      // GraphiQL's packages are marked for React servers, which there is none of.
      checks: { moduleLevelDirective: false },
    },
  },
});
