import { useEffect, useId, useLayoutEffect, useRef, useState, type ReactNode } from 'react';

import { SafeText } from './SafeText.tsx';

// The style sheet's width plus a margin.
const MAX_WIDTH_PX = 388;

interface Props {
  text: string;
  children: ReactNode;
  className?: string;
  /** -1 if a parent moves the focus between several of these with arrow keys. */
  tabIndex?: 0 | -1;
}

/** Explains its children: on hover, on focus, and always as their description. */
export function Tooltip({ text, children, className = '', tabIndex = 0 }: Props) {
  const id = useId();
  const host = useRef<HTMLSpanElement>(null);
  const tooltip = useRef<HTMLSpanElement>(null);
  const [position, setPosition] = useState<{ left: number; top: number } | null>(null);

  useLayoutEffect(() => {
    // In the top layer, no surrounding element clips or moves it. Browsers without popovers show
    // it in place.
    if (position !== null && tooltip.current !== null && 'showPopover' in tooltip.current) {
      tooltip.current.popover = 'manual';
      tooltip.current.showPopover();
    }
  }, [position]);

  useEffect(() => {
    if (position === null) return;
    const closeOnEscape = (event: KeyboardEvent) => {
      if (event.key !== 'Escape') return;
      event.stopPropagation();
      setPosition(null);
    };
    // On the document: a host that is only hovered has no focus and gets no keys.
    document.addEventListener('keydown', closeOnEscape, { capture: true });
    return () => {
      document.removeEventListener('keydown', closeOnEscape, { capture: true });
    };
  }, [position]);

  const open = () => {
    const box = host.current?.getBoundingClientRect();
    if (box === undefined) return;
    // Above its host, or below it at the top of the window.
    const top = box.top > 40 ? box.top - 30 : box.bottom + 6;
    const rightmost = window.innerWidth - MAX_WIDTH_PX;
    setPosition({ left: Math.max(4, Math.min(box.left, rightmost)), top });
  };
  const close = () => {
    setPosition(null);
  };

  return (
    <span
      ref={host}
      className={`fc-tooltip-host ${className}`}
      role="note"
      tabIndex={tabIndex}
      aria-describedby={id}
      onMouseEnter={open}
      onMouseLeave={close}
      onFocus={open}
      onBlur={close}
    >
      {children}
      <span
        ref={tooltip}
        id={id}
        role="tooltip"
        className="fc-tooltip"
        hidden={position === null}
        style={position ?? undefined}
      >
        <SafeText text={text} />
      </span>
    </span>
  );
}
