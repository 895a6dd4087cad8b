// @vitest-environment node
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test } from 'vitest';

import manifest from '../../package.json';

const WEB = join(import.meta.dirname, '../..');
const INSTALLED = join(WEB, 'node_modules');

/** A separate project with the packed package and React's types. */
let project = '';

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'strangers-project-'));
  const modules = join(project, 'node_modules');
  const own = join(modules, manifest.name);
  mkdirSync(own, { recursive: true });
  mkdirSync(join(modules, '@types'));
  // Otherwise React's development code is built.
  const env = { ...process.env, NODE_ENV: 'production' };
  execFileSync('npm', ['pack', '--silent', '--pack-destination', project], { cwd: WEB, env });
  const archive = `consumer-fleet-frame-context-${manifest.version}.tgz`;
  execFileSync('tar', ['-xzf', archive, '-C', own, '--strip-components=1'], { cwd: project });
  for (const name of ['react', '@types/react', ...Object.keys(manifest.dependencies)]) {
    symlinkSync(join(INSTALLED, name), join(modules, name), 'junction');
  }
  writeFileSync(join(project, 'package.json'), '{"type": "module"}');
  const readme = readFileSync(join(own, 'README.md'), 'utf8');
  const [, example = ''] = /```tsx\n(.*?)```/s.exec(readme) ?? [];
  writeFileSync(join(project, 'example.tsx'), example);
}, 120_000);

afterAll(() => {
  rmSync(project, { recursive: true, force: true });
});

test.each([
  ['nodenext', 'nodenext'],
  ['esnext', 'bundler'],
])(
  "the README's example compiles strictly as %s, resolved as by %s",
  (module, moduleResolution) => {
    const compilerOptions = {
      module,
      moduleResolution,
      target: 'es2023',
      jsx: 'react-jsx',
      strict: true,
      noUncheckedIndexedAccess: true,
      exactOptionalPropertyTypes: true,
      noUncheckedSideEffectImports: true,
      skipLibCheck: false,
      noEmit: true,
      types: [],
    };
    const config = { compilerOptions, files: ['example.tsx'] };
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify(config));
    expect(compile()).toBe('');
  },
);

/** The compiler's errors. */
function compile(): string {
  const compiler = join(INSTALLED, 'typescript/lib/tsc.js');
  try {
    return execFileSync(process.execPath, [compiler, '-p', project], { encoding: 'utf8' });
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}

test("the package imports only its dependencies and the page's React", () => {
  const code = readFileSync(
    join(project, 'node_modules', manifest.name, 'dist/context.js'),
    'utf8',
  );
  const imported = [...code.matchAll(/from "((?:@[^/"]+\/)?[^/"]+)/g)].map(([, name]) => name);
  expect([...new Set(imported)].sort()).toEqual(
    ['react', ...Object.keys(manifest.dependencies)].sort(),
  );
  expect(code).not.toContain('jsx-dev-runtime');
  expect(manifest.dependencies).not.toHaveProperty('react');
  expect(manifest.peerDependencies).toHaveProperty('react');
});

test('the packed package runs', () => {
  const script = "import { readEvent } from '@consumer-fleet/frame-context'; readEvent({});";
  execFileSync(process.execPath, ['--input-type=module', '-e', script], { cwd: project });
});
