import {
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
  type FocusEvent,
  type ReactNode,
} from 'react';

// A button that reveals less than this would take more space than it saves.
const WORTH_CLIPPING_PX = 24;

interface Props {
  clipHeightPx: number;
  /** The clipped content, for the button's accessible name. */
  what: string;
  children: ReactNode;
}

/** Shows the first `clipHeightPx` of its children, and the rest after a click. */
export function ClippedBox({ clipHeightPx, what, children }: Props) {
  const content = useRef<HTMLDivElement>(null);
  const [isTall, setIsTall] = useState(false);
  const [isRevealed, setIsRevealed] = useState(false);

  const measure = () => {
    const height = content.current?.scrollHeight ?? 0;
    setIsTall(height > clipHeightPx + WORTH_CLIPPING_PX);
  };
  useLayoutEffect(measure);
  useEffect(() => {
    // Text wraps: a narrower window makes the content taller.
    window.addEventListener('resize', measure);
    return () => {
      window.removeEventListener('resize', measure);
    };
  });

  const isClipped = isTall && !isRevealed;
  const label = isRevealed ? 'Show less' : 'Show more';
  const revealFocused = (event: FocusEvent<HTMLDivElement>) => {
    const bottom = event.currentTarget.getBoundingClientRect().bottom;
    if (isClipped && event.target.getBoundingClientRect().bottom > bottom) setIsRevealed(true);
  };

  return (
    <div className="fc-clipped-box" data-clipped={isClipped}>
      <div
        ref={content}
        className="fc-clipped-content"
        style={{ maxHeight: isClipped ? clipHeightPx : undefined }}
        onFocus={revealFocused}
      >
        {children}
      </div>
      {isTall && (
        <button
          type="button"
          className="fc-show-more"
          aria-expanded={isRevealed}
          aria-label={`${label} ${what}`}
          onClick={() => {
            setIsRevealed(!isRevealed);
          }}
        >
          {label}
        </button>
      )}
    </div>
  );
}
