import react from '@vitejs/plugin-react';
import { defineConfig, type UserConfig } from 'vite';

import { mockServer } from './dev/mockServer.ts';
import { thirdPartyLicenses } from './dev/thirdPartyLicenses.ts';

// `light-dark()` and nesting are used as they are: these are the first versions that have both.
const BROWSERS = ['chrome123', 'firefox120', 'safari17.5'];

const app: UserConfig = {
  plugins: [react(), thirdPartyLicenses(), mockServer()],
  build: {
    outDir: '../bundle',
    emptyOutDir: true,
    target: BROWSERS,
    sourcemap: false,
    // The page's policy forbids `data:` for scripts and fonts; separate files are cached.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { input: ['index.html', 'fleet.html'] },
  },
};

const stories: UserConfig = {
  plugins: [react()],
  base: './',
  build: {
    outDir: 'dist-stories',
    target: BROWSERS,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { input: 'stories.html' },
  },
};

const library: UserConfig = {
  plugins: [react()],
  build: {
    outDir: 'dist',
    target: BROWSERS,
    lib: {
      entry: 'src/context/library.ts',
      formats: ['es'],
      fileName: 'context',
      cssFileName: 'context',
    },
    rolldownOptions: {
      external: [/^react(-dom)?(\/|$)/, /^lowlight(\/|$)/, /^highlight\.js(\/|$)/, 'lossless-json'],
    },
  },
};

export default defineConfig(({ mode }) => {
  if (mode === 'lib') return library;
  if (mode === 'stories') return stories;
  return app;
});
