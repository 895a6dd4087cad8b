import { cleanup, configure } from '@testing-library/react';
import { afterEach } from 'vitest';

// A busy machine may be slow.
configure({ asyncUtilTimeout: 10_000 });
afterEach(cleanup);
