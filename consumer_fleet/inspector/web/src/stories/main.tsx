import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

// Imported first: the stories' styles may override it.
import '../context/context.css';
import './stories.css';

import { Stories } from './Stories';

const root = document.getElementById('root');
if (root === null) throw new Error('stories.html has no element #root');
createRoot(root).render(
  <StrictMode>
    <Stories />
  </StrictMode>,
);
