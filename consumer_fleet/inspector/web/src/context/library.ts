// The library's entry: its types are those of index.ts, which knows nothing of style sheets.
import './context.css';

export * from './index.ts';
