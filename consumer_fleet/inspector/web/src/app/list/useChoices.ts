import { useEffect, useState } from 'react';

import { fetchChoices } from '../../api/client';
import type { Choices, StoreId } from '../../api/types';

const NONE: Choices = {};

/** The values that the filters offer, requested again when entries were received. */
export function useChoices(accepted: number | null, store: StoreId | null): Choices {
  const [choices, setChoices] = useState(NONE);

  useEffect(() => {
    if (store === null || accepted === null) return;
    const controller = new AbortController();
    fetchChoices(controller.signal).then(setChoices, () => {
      // The filters then offer what they offered before.
    });
    return () => {
      controller.abort();
    };
  }, [accepted, store]);

  return choices;
}
