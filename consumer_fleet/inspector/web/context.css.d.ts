// For `import '@consumer-fleet/frame-context/context.css'`: a style sheet exports nothing.
export {};
