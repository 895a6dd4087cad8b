import { useMemo } from 'react';

import { AnnotatedText } from '../../context/AnnotatedText';
import type { CoverageCache } from '../../context/coverageCache';
import { ShowMore, usePages } from '../../context/pages';
import { revealInvisibleText, SafeText } from '../../context/SafeText';
import { member } from '../../json';
import type { EventModel, Mechanism } from '../../model/event';
import { exceptionTree, type ExceptionNode } from '../../model/exceptionTree';
import { StackTrace } from '../stacktrace/StackTrace';
import { formatCount } from '../format';
import { KeyValues } from './KeyValues';
import { Section } from './Section';

// Each exception may have hundreds of frames.
const PAGE_SIZE = 5;
// A chain of any length must still fit a narrow page.
const MAX_INDENT = 6;
const UNNAMED = 'Unnamed exception';

interface Props {
  event: EventModel;
  coverage: CoverageCache | null;
}

/** The exceptions as a tree, the last raised first, each followed by those that belong to it. */
export function Exceptions({ event, coverage }: Props) {
  const { exceptions, platform, sdkName } = event;
  const nodes = useMemo(
    () => exceptionTree(exceptions, platform, sdkName),
    [exceptions, platform, sdkName],
  );
  const pages = usePages(nodes, { size: PAGE_SIZE });
  if (nodes.length === 0) return null;
  const isBranched = nodes.some(({ depth }, index) => depth !== index);
  return (
    <Section
      title={nodes.length === 1 ? 'Exception' : 'Exceptions'}
      note={nodes.length > 1 ? formatCount(nodes.length, 'exception') : undefined}
    >
      {pages.shown.map((node, index) => (
        <ExceptionBlock
          key={index}
          event={event}
          node={node}
          // A chain needs no indentation: its order says it all.
          indent={isBranched ? Math.min(node.depth, MAX_INDENT) : 0}
          coverage={coverage}
        />
      ))}
      <ShowMore pages={pages} what="exceptions" className="wide-button" />
    </Section>
  );
}

interface BlockProps {
  event: EventModel;
  node: ExceptionNode;
  indent: number;
  coverage: CoverageCache | null;
}

function ExceptionBlock({ event, node, indent, coverage }: BlockProps) {
  const { type, value, module, mechanism, stacktrace, meta } = node.exception;
  const title = type ?? UNNAMED;
  return (
    <article className="exception" data-depth={indent} aria-label={revealInvisibleText(title)}>
      <RelationLine node={node} />
      <h4 className="exception-type">
        {module !== null && !isAssembly(module) && (
          <span className="exception-module">
            <SafeText text={module} />.
          </span>
        )}
        <SafeText text={title} />
      </h4>
      {module !== null && isAssembly(module) && (
        <p className="dim">
          <SafeText text={module} />
        </p>
      )}
      {value !== null && value !== '' && (
        <p className="exception-value">
          <AnnotatedText text={value} meta={member(meta, 'value')} />
        </p>
      )}
      {mechanism !== null && <MechanismFacts mechanism={mechanism} />}
      {stacktrace !== null && (
        <StackTrace
          event={event}
          stacktrace={stacktrace}
          heading={`${title}: ${value ?? ''}`}
          coverage={coverage}
        />
      )}
    </article>
  );
}

/** A sentence of three parts: the parent, the relation, and the exception below the line. */
function RelationLine({ node: { relation, parent, problem } }: { node: ExceptionNode }) {
  if (problem !== null) return <p className="cause">{problem}</p>;
  if (relation === null || parent === null) return null;
  const name = <SafeText text={parent.type ?? UNNAMED} />;
  switch (relation.kind) {
    case 'member of group':
      return <p className="cause">member of group {name}</p>;
    case 'suppressed':
      return <p className="cause">suppressed by {name}</p>;
    case 'caused by':
    case 'during handling of':
      return (
        <p className="cause">
          {name} {relation.kind}
        </p>
      );
    case 'raised after':
      return (
        <p className="cause">
          {name} raised after
          <span className="dim"> (the event does not say whether this is its cause)</span>
        </p>
      );
    case 'linked':
      return (
        <p className="cause">
          below {name}
          {relation.source !== null && (
            <>
              {' as '}
              <SafeText text={relation.source} />
            </>
          )}
          <span className="dim"> (the event does not say whether this is its cause)</span>
        </p>
      );
  }
}

/** .NET names the assembly here, which is not a prefix of the type's name. */
function isAssembly(module: string): boolean {
  return module.includes(', Version=');
}

function MechanismFacts({ mechanism }: { mechanism: Mechanism }) {
  const { type, handled, isGroup, data, dataMeta } = mechanism;
  return (
    <div className="mechanism">
      {type !== null && (
        <span className="chip">
          mechanism <SafeText text={type} />
        </span>
      )}
      {handled !== null && (
        <span className="chip" data-tone={handled ? 'plain' : 'bad'}>
          {handled ? 'handled' : 'unhandled'}
        </span>
      )}
      {isGroup && <span className="chip">exception group</span>}
      {Object.keys(data).length > 0 && <KeyValues values={data} meta={dataMeta} />}
    </div>
  );
}
