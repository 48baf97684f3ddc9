// Checks CloudFormation templates against the resource schemas of
// @aws-cdk/aws-service-spec: resource types, properties, their types and
// allowed values, what is required, and what Ref and Fn::GetAtt name. Prints a
// line for each problem.
//
// usage: node spec.mjs TEMPLATE.json...
import { readFileSync } from 'node:fs';
import { loadAwsServiceSpecSync } from '@aws-cdk/aws-service-spec';

const spec = loadAwsServiceSpecSync();
let file, template;
const problem = (path, says) => console.log(`${file}: ${path}: ${says}`);

const schemas = new Map();
function schemaOf(type) {
  if (!schemas.has(type)) {
    schemas.set(type, spec.lookup('resource', 'cloudFormationType', 'equals', type)[0]);
  }
  return schemas.get(type);
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

// A function of CloudFormation, whose value only the deployment knows, or null.
function intrinsic(value) {
  const [key, ...rest] = isObject(value) ? Object.keys(value) : [];
  return rest.length === 0 && key && (key === 'Ref' || key.startsWith('Fn::')) ? key : null;
}

const pseudo = ['AccountId', 'NoValue', 'NotificationARNs', 'Partition', 'Region', 'StackId', 'StackName', 'URLSuffix'].map((name) => `AWS::${name}`);

// Checks every reference in a value, however deep.
function references(value, path) {
  if (Array.isArray(value)) {
    value.forEach((item, i) => references(item, `${path}[${i}]`));
  } else if (isObject(value)) {
    if (intrinsic(value) === 'Ref' && !template.Resources[value.Ref] && !template.Parameters?.[value.Ref] && !pseudo.includes(value.Ref)) {
      problem(path, `Ref to ${value.Ref}, which is not there`);
    }
    if (intrinsic(value) === 'Fn::GetAtt') {
      const [id, attribute] = value['Fn::GetAtt'];
      const type = template.Resources[id]?.Type;
      if (!type) {
        problem(path, `Fn::GetAtt of ${id}, which is not there`);
      } else if (!schemaOf(type)?.attributes[attribute]) {
        problem(path, `${type} has no attribute ${attribute}`);
      }
    }
    for (const [key, item] of Object.entries(value)) references(item, `${path}.${key}`);
  }
}

// Returns what is wrong with a value of a type, as [path, text] pairs.
function mismatches(value, type, path) {
  if (intrinsic(value)) return [];
  const wrong = [[path, `${JSON.stringify(value).slice(0, 80)} is no ${type.type}`]];
  const listed = type.allowedValues && !type.allowedValues.includes(value)
    ? [[path, `${JSON.stringify(value)} is not one of ${type.allowedValues.join(', ')}`]] : [];
  switch (type.type) {
    case 'string':
    case 'date-time':
      return typeof value === 'string' ? listed : wrong;
    case 'integer':
      return Number.isInteger(value) ? listed : wrong;
    case 'number':
      return typeof value === 'number' ? [] : wrong;
    case 'boolean':
      return typeof value === 'boolean' ? [] : wrong;
    case 'json':
      return typeof value === 'object' && value !== null ? [] : wrong;
    case 'null':
      return value === null ? [] : wrong;
    case 'tag':
      return isObject(value) && typeof value.Key === 'string' && 'Value' in value ? [] : wrong;
    case 'array':
      return Array.isArray(value) ? value.flatMap((item, i) => mismatches(item, type.element, `${path}[${i}]`)) : wrong;
    case 'map':
      return isObject(value) ? Object.entries(value).flatMap(([key, item]) => mismatches(item, type.element, `${path}.${key}`)) : wrong;
    case 'ref':
      return isObject(value) ? members(value, spec.get('typeDefinition', type.reference.$ref).properties, path) : wrong;
    case 'union': {
      const tries = type.types.map((member) => mismatches(value, member, path));
      return tries.find((found) => found.length === 0) ?? tries[0];
    }
    default:
      return [[path, `a type this check does not know: ${type.type}`]];
  }
}

function members(value, properties, path) {
  const found = [];
  for (const [name, property] of Object.entries(properties)) {
    if (property.required && !(name in value)) found.push([path, `${name} is required`]);
  }
  for (const [name, item] of Object.entries(value)) {
    const property = properties[name];
    if (!property) {
      found.push([path, `there is no property ${name}`]);
      continue;
    }
    const types = [property.type, ...(property.previousTypes ?? [])];
    found.push(...mismatches(item, { type: 'union', types }, `${path}.${name}`));
  }
  return found;
}

for (file of process.argv.slice(2)) {
  template = JSON.parse(readFileSync(file, 'utf8'));
  for (const [id, resource] of Object.entries(template.Resources)) {
    const schema = schemaOf(resource.Type);
    if (!schema) {
      problem(id, `there is no resource type ${resource.Type}`);
      continue;
    }
    for (const [path, says] of members(resource.Properties ?? {}, schema.properties, `${resource.Type} ${id}`)) problem(path, says);
    for (const other of [resource.DependsOn ?? []].flat()) {
      if (!template.Resources[other]) problem(id, `depends on ${other}, which is not there`);
    }
  }
  references(template.Resources, 'Resources');
  references(template.Outputs ?? {}, 'Outputs');
}
