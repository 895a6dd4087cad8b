import {
  useId,
  useLayoutEffect,
  useRef,
  useState,
  type KeyboardEvent,
  type ReactNode,
} from 'react';

import { SafeText } from './SafeText';

// As the style sheet has it, with a margin.
const MAX_WIDTH_PX = 388;

interface Props {
  text: string;
  children: ReactNode;
  className?: string;
  /** -1 where a parent moves the focus among several of these with arrow keys. */
  tabIndex?: 0 | -1;
}

/** A text that explains its children: on hover, on focus, and always as their description. */
export function Tooltip({ text, children, className = '', tabIndex = 0 }: Props) {
  const id = useId();
  const host = useRef<HTMLSpanElement>(null);
  const tooltip = useRef<HTMLSpanElement>(null);
  const [position, setPosition] = useState<{ left: number; top: number } | null>(null);

  useLayoutEffect(() => {
    // In the top layer nothing around the host clips or moves it: not a block that scrolls, nor
    // one with containment. Without popovers it is shown where it stands.
    if (position !== null && tooltip.current !== null && 'showPopover' in tooltip.current) {
      tooltip.current.popover = 'manual';
      tooltip.current.showPopover();
    }
  }, [position]);

  const open = () => {
    const box = host.current?.getBoundingClientRect();
    if (box === undefined) return;
    // Above its host; below it where the window ends.
    const top = box.top > 40 ? box.top - 30 : box.bottom + 6;
    const rightmost = window.innerWidth - MAX_WIDTH_PX;
    setPosition({ left: Math.max(4, Math.min(box.left, rightmost)), top });
  };
  const close = () => {
    setPosition(null);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== 'Escape' || position === null) return;
    event.stopPropagation();
    close();
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
      onKeyDown={onKeyDown}
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
