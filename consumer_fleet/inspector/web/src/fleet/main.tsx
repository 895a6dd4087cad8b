import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import '../context/tokens.css';
import '../app/styles/app.css';
import './fleet.css';

import { applyTheme, readTheme } from '../app/theme';
import { FleetApp } from './FleetApp';

applyTheme(readTheme());
const root = document.getElementById('root');
if (root === null) throw new Error('fleet.html has no element #root');
createRoot(root).render(
  <StrictMode>
    <FleetApp />
  </StrictMode>,
);
