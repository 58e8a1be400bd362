// Asks for the first view's answers while its code is still on the way.
import { ahead, path } from './api.js';
import { parse } from './parts/address.js';
import { asked } from './parts/filters.js';

const { study, view, query } = parse(location.hash);
ahead(path('info'));
if (study) {
  ahead(path('studies', study));
  ahead(path('studies', study, 'points'));
  if (view === 'front') ahead(path('studies', study, 'front', { x: query.x, y: query.y, ...asked(query) }));
} else {
  ahead(path('studies'));
}
