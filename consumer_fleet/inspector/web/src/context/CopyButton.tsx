import { useEffect, useState } from 'react';

type Outcome = 'idle' | 'copied' | 'failed';

const SHOWN_MS = 1600;

/** Copies the result of `text` and shows for a moment whether that worked. */
export function CopyButton({ label, text }: { label: string; text: () => string }) {
  const [outcome, setOutcome] = useState<Outcome>('idle');

  useEffect(() => {
    if (outcome === 'idle') return;
    const timer = setTimeout(() => {
      setOutcome('idle');
    }, SHOWN_MS);
    return () => {
      clearTimeout(timer);
    };
  }, [outcome]);

  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text());
      setOutcome('copied');
    } catch {
      // No permission, or the page is not in a secure context.
      setOutcome('failed');
    }
  };

  return (
    <button
      type="button"
      className="fc-copy"
      aria-label={label}
      data-outcome={outcome}
      onClick={(event) => {
        event.stopPropagation();
        void copy();
      }}
    >
      <svg aria-hidden="true" viewBox="0 0 16 16" width="14" height="14">
        <path
          d={
            outcome === 'copied'
              ? 'M3 8.5l3.2 3.2L13 5'
              : 'M5.5 5.5V3h7.500v7.500h-2.500M3 5.500h7.500V13H3z'
          }
          fill="none"
          stroke="currentColor"
          strokeWidth="1.3"
        />
      </svg>
      <span role="status" className="fc-copy-outcome">
        {outcome === 'idle' ? '' : outcome === 'copied' ? 'Copied' : 'Copying failed'}
      </span>
    </button>
  );
}
