import type { ReactNode } from 'react';

import { ShowMore, usePages } from '../../context/pages';

interface Props<T> {
  columns: string[];
  rows: T[];
  /** The plural name of the rows. */
  what: string;
  /** The row's cells, one for each column. */
  render: (row: T) => ReactNode[];
}

/** A table that is shown a page at a time; its last column takes the space. */
export function Table<T>({ columns, rows, what, render }: Props<T>) {
  const pages = usePages(rows);
  return (
    <>
      <div className="table-scroller">
        <table className="items-table">
          <thead>
            <tr>
              {columns.map((column) => (
                <th scope="col" key={column}>
                  {column}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {pages.shown.map((row, index) => (
              <tr key={index}>
                {render(row).map((cell, column) => (
                  <td key={column}>{cell}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <ShowMore pages={pages} what={what} className="wide-button" />
    </>
  );
}
