import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

// Imported first: the page's styles may override it.
import '../context/context.css';
import './styles/app.css';

import { App } from './App';
import { applyTheme, readTheme } from './theme';

applyTheme(readTheme());
const root = document.getElementById('root');
if (root === null) throw new Error('index.html has no element #root');
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
