import { revealInvisibleText, SafeText } from '../../context/SafeText';
import type { FlameBox } from '../../model/profile';

const ROW_HEIGHT_PX = 22;

interface Props {
  boxes: FlameBox[];
  /** How many samples the whole width stands for. */
  samples: number;
}

/** The calls of a profile as nested boxes: each is as wide as its share of the samples. */
export function FlameGraph({ boxes, samples }: Props) {
  const depth = Math.max(...boxes.map((box) => box.depth), -1) + 1;
  const percent = (count: number) => `${((count / samples) * 100).toFixed(1)}%`;
  return (
    <div
      className="flame-graph"
      role="img"
      aria-label="Flame graph. The table below has its figures."
      style={{ height: depth * ROW_HEIGHT_PX }}
    >
      {boxes.map((box) => (
        <span
          key={`${box.depth}-${box.start}`}
          className="flame-box"
          data-in-app={box.isInApp}
          title={revealInvisibleText(`${box.name} ${box.location}: ${percent(box.samples)}`)}
          style={{
            top: box.depth * ROW_HEIGHT_PX,
            left: percent(box.start),
            width: percent(box.samples),
          }}
        >
          <SafeText text={box.name} />
        </span>
      ))}
    </div>
  );
}
