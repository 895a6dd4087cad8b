import { useEffect, useRef, useState } from 'react';

import type { Choices, ExactFilter, Filters } from '../../api/types';

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

interface SearchProps {
  filters: Filters;
  onChange: (filters: Filters) => void;
}

interface Props {
  filters: Filters;
  choices: Choices;
  onChange: (filters: Filters) => void;
}

// Offered where there are several values to choose from.
const MORE: [name: ExactFilter, label: string, all: string][] = [
  ['project', 'Project', 'All projects'],
  ['platform', 'Platform', 'All platforms'],
  ['topic', 'Topic', 'All topics'],
  ['reason', 'Reason', 'All reasons'],
];

export function FilterBar({ filters, choices, onChange }: Props) {
  const more = MORE.filter(
    ([name]) => filters[name] !== '' || (choices[name] ?? []).length > (name === 'reason' ? 0 : 1),
  );
  return (
    <div role="search" className="filters">
      <SearchField filters={filters} onChange={onChange} />
      <div className="filter-row">
        <Choice
          label="Type"
          all="All types"
          values={[...new Set([...TYPES, ...(choices.type ?? [])])]}
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
        <button
          type="button"
          className="toggle"
          aria-pressed={filters.isGrouped}
          title="List the newest event of each issue, and how many there are"
          onClick={() => {
            onChange({ ...filters, isGrouped: !filters.isGrouped });
          }}
        >
          Group issues
        </button>
        {more.map(([name, label, all]) => (
          <Choice
            key={name}
            label={label}
            all={all}
            values={choices[name] ?? []}
            value={filters[name]}
            onChange={(value) => {
              onChange({ ...filters, [name]: value });
            }}
          />
        ))}
        {filters.issue !== '' && (
          <button
            type="button"
            className="toggle"
            aria-pressed="true"
            onClick={() => {
              onChange({ ...filters, issue: '' });
            }}
          >
            One issue
          </button>
        )}
      </div>
    </div>
  );
}

function SearchField({ filters, onChange }: SearchProps) {
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
      placeholder="Search everything …"
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
