import { createContext, useContext, useEffect, useState } from 'react';

import { fetchSource } from '../../api/client';
import type { FoundSource } from '../../api/types';
import type { Frame, FrameEvent } from '../../model/event';

/** What the server offers for frames. */
export interface SourceSettings {
  hasRoot: boolean;
  editorLink: string | null;
}

export const SourceContext = createContext<SourceSettings>({ hasRoot: false, editorLink: null });

export interface FrameSource {
  /** The frame, with the lines of the checkout if it was sent without any. */
  frame: Frame;
  /** Whether there may be lines, once they are requested. */
  isPossible: boolean;
  /** Where the lines are from, if not from the event. */
  note: string | null;
}

/** Request the source of an open frame that was sent without it. */
export function useFrameSource(event: FrameEvent, frame: Frame, isOpen: boolean): FrameSource {
  const { hasRoot } = useContext(SourceContext);
  const [found, setFound] = useState<FoundSource | null>(null);
  const isPossible =
    hasRoot && frame.context.length === 0 && frame.lineNo !== null && frame.filename !== null;
  const isWanted = isPossible && isOpen && found === null;

  useEffect(() => {
    const { filename, absPath, module, lineNo, package: framePackage } = frame;
    if (!isWanted || filename === null || lineNo === null) return;
    const { commit, sdkName } = event;
    const query = { file: filename, commit, sdkName, absPath, module, package: framePackage };
    const controller = new AbortController();
    fetchSource(query, lineNo, controller.signal).then(
      (source) => {
        setFound(source ?? { lines: [], commit: null });
      },
      () => {
        // The frame then stays without source, as it was sent.
      },
    );
    return () => {
      controller.abort();
    };
  }, [isWanted, event, frame]);

  if (found === null || found.lines.length === 0) {
    const note = found === null ? null : 'The checkout (--source-root) has no such file or line.';
    return { frame, isPossible, note };
  }
  const where = found.commit === null ? 'the working tree' : `commit ${found.commit.slice(0, 12)}`;
  const note = `Source lines from ${where} of the checkout, not from the event.`;
  return { frame: { ...frame, context: found.lines }, isPossible, note };
}

/** A link that opens the frame's file in an editor, if the server is told how. */
export function EditorLink({ frame }: { frame: Frame }) {
  const { editorLink } = useContext(SourceContext);
  const path = frame.absPath ?? frame.filename;
  if (editorLink === null || path === null) return null;
  const href = editorLink
    .replaceAll('{path}', encodeURI(path).replaceAll(/[?#]/g, encodeURIComponent))
    .replaceAll('{line}', String(frame.lineNo ?? 1));
  return (
    <a className="editor-link" href={href}>
      Open in editor
    </a>
  );
}
