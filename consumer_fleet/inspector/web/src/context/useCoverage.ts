import { useEffect, useMemo, useState } from 'react';

import type { Frame, FrameEvent } from '../model/event.ts';
import type { CoverageAnswer, CoverageQuery } from './coverage.ts';
import type { CoverageCache } from './coverageCache.ts';

/** The coverage of the frame's file: requested while `isEnabled`, null until loaded. */
export function useCoverage(
  cache: CoverageCache | null,
  event: FrameEvent,
  frame: Frame,
  isEnabled: boolean,
): CoverageAnswer | null {
  const { filename: file, absPath, module, package: framePackage } = frame;
  const { commit, sdkName } = event;
  const query = useMemo<CoverageQuery | null>(
    () =>
      file === null ? null : { file, commit, sdkName, absPath, module, package: framePackage },
    [file, commit, sdkName, absPath, module, framePackage],
  );
  const [loaded, setLoaded] = useState<{ query: CoverageQuery; answer: CoverageAnswer | null }>();

  useEffect(() => {
    if (cache === null || query === null || !isEnabled) return;
    let isCurrent = true;
    void cache.lookup(query).then((answer) => {
      if (isCurrent) setLoaded({ query, answer });
    });
    return () => {
      isCurrent = false;
    };
  }, [cache, query, isEnabled]);

  return loaded?.query === query ? loaded.answer : null;
}
