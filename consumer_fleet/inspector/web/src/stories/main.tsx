import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

// Before the stories' own: those may override them.
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
