import { useEffect, useRef, useState } from 'react';

import type { Filters } from '../../api/types';

// Search after a pause in typing, not at every key.
const TYPING_PAUSE_MS = 250;

const TYPES = [
  'error',
  'default',
  'transaction',
  'feedback',
  'csp',
  'log',
  'trace_metric',
  'check_in',
  'session',
  'sessions',
  'user_report',
  'client_report',
  'profile',
  'profile_chunk',
  'undecodable',
];
const LEVELS = ['fatal', 'error', 'warning', 'info', 'debug', 'trace'];

interface Props {
  filters: Filters;
  onChange: (filters: Filters) => void;
}

export function FilterBar({ filters, onChange }: Props) {
  return (
    <div role="search" className="filters">
      <SearchField filters={filters} onChange={onChange} />
      <div className="filter-row">
        <Choice
          label="Type"
          all="All types"
          values={TYPES}
          value={filters.type}
          onChange={(type) => {
            onChange({ ...filters, type });
          }}
        />
        <Choice
          label="Level"
          all="All levels"
          values={LEVELS}
          value={filters.level}
          onChange={(level) => {
            onChange({ ...filters, level });
          }}
        />
        <button
          type="button"
          className="toggle"
          aria-pressed={filters.isDeadOnly}
          onClick={() => {
            onChange({ ...filters, isDeadOnly: !filters.isDeadOnly });
          }}
        >
          Dead letters
        </button>
      </div>
    </div>
  );
}

function SearchField({ filters, onChange }: Props) {
  const [text, setText] = useState(filters.q);
  const [sent, setSent] = useState(filters.q);
  const input = useRef<HTMLInputElement>(null);

  // A search from the address replaces the typed text.
  if (filters.q !== sent) {
    setSent(filters.q);
    setText(filters.q);
  }

  useEffect(() => {
    if (text === filters.q) return;
    const timer = setTimeout(() => {
      setSent(text);
      onChange({ ...filters, q: text });
    }, TYPING_PAUSE_MS);
    return () => {
      clearTimeout(timer);
    };
  }, [text, filters, onChange]);

  useEffect(() => {
    const focusOnSlash = (event: KeyboardEvent) => {
      const isTyping = event.target instanceof Element && event.target.matches('input, select');
      if (event.key !== '/' || isTyping || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      input.current?.focus();
    };
    document.addEventListener('keydown', focusOnSlash);
    return () => {
      document.removeEventListener('keydown', focusOnSlash);
    };
  }, []);

  return (
    <input
      ref={input}
      type="search"
      className="search-field"
      aria-label="Search events"
      placeholder="Search title, id, culprit …"
      title="Press / to search"
      value={text}
      spellCheck={false}
      autoComplete="off"
      onChange={(event) => {
        setText(event.target.value);
      }}
    />
  );
}

interface ChoiceProps {
  label: string;
  all: string;
  values: string[];
  value: string;
  onChange: (value: string) => void;
}

function Choice({ label, all, values, value, onChange }: ChoiceProps) {
  // Also offer an unusual value from the address.
  const offered = value === '' || values.includes(value) ? values : [...values, value];
  return (
    <select
      aria-label={label}
      value={value}
      onChange={(event) => {
        onChange(event.target.value);
      }}
    >
      <option value="">{all}</option>
      {offered.map((option) => (
        <option key={option}>{option}</option>
      ))}
    </select>
  );
}
