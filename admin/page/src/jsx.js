// What JSX becomes, for every file.
export { createElement, Fragment } from 'preact';
