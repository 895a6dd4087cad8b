import { useId, useState, type ReactNode } from 'react';

import { Context, type ContextProps } from '../context';
import type { StoryFrame } from './frames';

interface Props {
  title: string;
  of: StoryFrame;
  children?: ReactNode;
  props?: Partial<ContextProps>;
}

/** One behaviour: a description, and the component that shows it. */
export function Story({ title, of, children, props = {} }: Props) {
  const id = useId();
  const [isExpanded, setIsExpanded] = useState(props.isExpanded ?? true);
  return (
    <section className="story" aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      <p>{children}</p>
      <label>
        <input
          type="checkbox"
          checked={isExpanded}
          onChange={(event) => {
            setIsExpanded(event.target.checked);
          }}
        />{' '}
        expanded
      </label>
      <div className="story-frame">
        <Context
          event={of.event}
          frame={of.frame}
          registers={of.stacktrace.registers}
          {...props}
          isExpanded={isExpanded}
        />
      </div>
    </section>
  );
}
