import { useId, type ReactNode } from 'react';

interface Props {
  title: ReactNode;
  note?: ReactNode;
  className?: string;
  children: ReactNode;
}

export function Section({ title, note, className = '', children }: Props) {
  const id = useId();
  return (
    <section className={`section ${className}`} aria-labelledby={id}>
      <header className="section-head">
        <h3 id={id}>{title}</h3>
        {note !== undefined && <span className="section-note">{note}</span>}
      </header>
      {children}
    </section>
  );
}
