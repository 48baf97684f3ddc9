// What AppSync's APPSYNC_JS runtime refuses in resolvers/*.js, by AppSync's own
// plugin. Its recommended rules need types: those of @aws-appsync/utils.
import appsync from '@aws-appsync/eslint-plugin';

const { recommended } = appsync.configs;

export default [
  {
    ...recommended,
    files: ['resolvers/*.js'],
    rules: {
      ...recommended.rules,
      // The plugin has no rule for what the guide also excludes.
      'no-restricted-syntax': ['error', { selector: 'ThrowStatement', message: 'throw is not supported: use util.error' }],
    },
    languageOptions: {
      ...recommended.languageOptions,
      parserOptions: { projectService: { allowDefaultProject: ['resolvers/*.js'] }, tsconfigRootDir: import.meta.dirname },
    },
  },
];
