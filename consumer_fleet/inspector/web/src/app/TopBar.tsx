import { useState } from 'react';

import type { Connection } from '../api/stream';
import type { Status } from '../api/types';
import { CopyButton } from '../context/CopyButton';
import { SafeText } from '../context/SafeText';
import { formatBytes, formatCount } from './format';
import { applyTheme, readTheme, storeTheme, type Theme } from './theme';

const CONNECTION_TEXT: Record<Connection, string> = {
  connecting: 'Connecting',
  live: 'Live',
  disconnected: 'Disconnected',
};

// A receiver's name says it all.
const SOURCE_TEXT = {
  topic: 'topic',
  dlq: 'dead-letter topic',
  recording: 'recording',
  demo: 'demo',
} satisfies Partial<Record<Status['source']['kind'], string>>;

interface Props {
  status: Status | null;
  connection: Connection;
}

export function TopBar({ status, connection }: Props) {
  const dsn = status?.dsn ?? null;
  return (
    <header className="top-bar">
      <h1 className="brand">
        <svg aria-hidden="true" viewBox="0 0 20 20" width="18" height="18">
          <path
            d="M2.5 5h15v10.500h-15zM2.5 5.500l7.5 5.5 7.5-5.5"
            fill="none"
            stroke="currentColor"
            strokeWidth="1.6"
            strokeLinejoin="round"
          />
        </svg>
        Inspector
      </h1>
      {status !== null && (
        <p className="source">
          {status.source.kind !== 'receiver' && (
            <span className="dim">{SOURCE_TEXT[status.source.kind]} </span>
          )}
          <SafeText text={status.source.name} />
        </p>
      )}
      {status !== null && (
        <p className="counts">
          {formatCount(status.counts.accepted, 'envelope')} received,{' '}
          {status.counts.kept.toLocaleString('en')} stored ({formatBytes(status.counts.kept_bytes)})
        </p>
      )}
      {status?.fleet === true && (
        <a className="to-page" href="/fleet">
          Fleet
        </a>
      )}
      {dsn !== null && (
        <span className="copy-dsn" title={dsn}>
          DSN <CopyButton label="Copy DSN" text={() => dsn} />
        </span>
      )}
      <p className="connection" role="status" data-state={connection}>
        <span className="connection-dot" aria-hidden="true" />
        {CONNECTION_TEXT[connection]}
      </p>
      <ThemeChoice />
    </header>
  );
}

const NEXT_THEME: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' };

export function ThemeChoice() {
  const [theme, setTheme] = useState(readTheme);
  return (
    <button
      type="button"
      className="theme"
      aria-label={`Theme: ${theme}. Switch to ${NEXT_THEME[theme]}`}
      title={`Theme: ${theme}`}
      onClick={() => {
        const next = NEXT_THEME[theme];
        setTheme(next);
        applyTheme(next);
        storeTheme(next);
      }}
    >
      <svg aria-hidden="true" viewBox="0 0 16 16" width="16" height="16">
        {theme === 'dark' && (
          <path d="M13 9.800A5.5 5.5 0 016.2 3a5.5 5.5 0 106.8 6.800z" fill="currentColor" />
        )}
        {theme === 'light' && <circle cx="8" cy="8" r="4" fill="currentColor" />}
        {theme === 'system' && (
          <>
            <circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" strokeWidth="1.3" />
            <path d="M8 2.5a5.5 5.5 0 0 0 0 11z" fill="currentColor" />
          </>
        )}
      </svg>
    </button>
  );
}
