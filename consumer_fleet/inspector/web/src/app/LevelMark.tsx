import { SafeText } from '../context/SafeText';

const ROUND = 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13';
// Shapes of 16 × 16: a level must be recognisable without its colour.
const SHAPES = new Map([
  ['fatal', 'M5 1.5h6L14.5 5v6L11 14.5H5L1.5 11V5zM5.5 5.5l5 5M10.5 5.5l-5 5'],
  ['error', `${ROUND}M5.5 5.5l5 5M10.5 5.5l-5 5`],
  ['warning', 'M8 1.5L15 14H1zM8 6v4M8 11.5v.8'],
  ['info', `${ROUND}M8 7v4.5M8 4.2v.8`],
]);

/** A level as an icon and a word. */
export function LevelMark({ level }: { level: string }) {
  return (
    <span className="level" data-level={level}>
      <svg viewBox="0 0 16 16" width="11" height="11" aria-hidden="true">
        <path
          d={SHAPES.get(level) ?? ROUND}
          fill="none"
          stroke="currentColor"
          strokeWidth="1.6"
          strokeLinecap="round"
          strokeLinejoin="round"
        />
      </svg>
      <SafeText text={level.toUpperCase()} />
    </span>
  );
}
