// The library's entry; its types are those of index.ts, which imports no style sheet.
import './context.css';

export * from './index.ts';
