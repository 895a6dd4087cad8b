import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';

import type { Plugin } from 'vite';

/** Write the licences of all bundled packages next to the bundle. */
export function thirdPartyLicenses(): Plugin {
  return {
    name: 'third-party-licenses',
    apply: 'build',
    generateBundle(_, bundle) {
      const folders = new Set<string>();
      for (const output of Object.values(bundle)) {
        if (output.type !== 'chunk') continue;
        for (const id of output.moduleIds) {
          const folder = packageFolder(id);
          if (folder !== null) folders.add(folder);
        }
      }
      const source = [...folders]
        .sort()
        .map(describe)
        .join(`\n${'-'.repeat(72)}\n\n`);
      this.emitFile({ type: 'asset', fileName: 'THIRD-PARTY-LICENSES.txt', source });
    },
  };
}

function packageFolder(moduleId: string): string | null {
  const marker = `${sep}node_modules${sep}`;
  const start = moduleId.lastIndexOf(marker);
  if (start < 0) return null;
  const [scope = '', name = ''] = moduleId.slice(start + marker.length).split(sep);
  const own = scope.startsWith('@') ? join(scope, name) : scope;
  return moduleId.slice(moduleId.startsWith('\0') ? 1 : 0, start) + marker + own;
}

function describe(folder: string): string {
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    name: string;
    version: string;
    license?: string;
  };
  const file = readdirSync(folder).find((name) => /^(licen[cs]e|copying)/i.test(name));
  // Never build a bundle that lacks a package's licence.
  if (file === undefined || !existsSync(join(folder, file))) {
    throw new Error(`${folder} has no licence file`);
  }
  const heading = `${manifest.name} ${manifest.version} (${manifest.license ?? 'see below'})`;
  return `${heading}\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`;
}
