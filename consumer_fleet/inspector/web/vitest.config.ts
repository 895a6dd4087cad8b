import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  plugins: [react()],
  test: {
    setupFiles: ['src/testSetup.ts'],
    restoreMocks: true,
    // A fresh worker for each file would take as long as the tests: no file changes a module.
    isolate: false,
    // Other work shares the machine: two workers are enough.
    maxWorkers: 2,
    testTimeout: 30_000,
    // Only components need a document.
    projects: [
      {
        extends: true,
        test: { name: 'logic', environment: 'node', include: ['src/**/*.test.ts'] },
      },
      {
        extends: true,
        test: { name: 'page', environment: 'jsdom', include: ['src/**/*.test.tsx'] },
      },
    ],
  },
});
